"""The manifest beside fetched weights: where they came from, and the sha256 of every file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from m2n2_engine.errors import WeightsCorrupt
from m2n2_engine.weights.catalogue import Weights

NAME = "manifest.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What is checked of it.

    sha256: hex digests by path. commit: of the hub, 40 hex digits; None for a registry package, and where an older
    version of this product fetched.
    """

    sha256: Mapping[str, str]
    commit: str | None


def describe(entry: Weights, folder: Path, revision: str, commit: str | None) -> None:
    """Write the manifest of all files in ``folder``, that of ``entry`` at a revision."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {"name": entry.name, "source": entry.source, "licence": entry.licence, "revision": revision}
    if commit is not None:
        content["commit"] = commit
    hashes = {path.relative_to(folder).as_posix(): find_sha256(path) for path in files}
    (folder / NAME).write_text(json.dumps({**content, "sha256": hashes}, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest | None:
    """The manifest of ``folder``; None where it has none. Raises WeightsCorrupt where it cannot be read."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(dict(content["sha256"]), content.get("commit"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsCorrupt(f"{path} is not a manifest of this product") from error


def check_sha256(folder: Path, expected: Mapping[str, str]) -> None:
    """Raises WeightsCorrupt naming the first file of ``folder`` that has not its sha256, by paths."""
    for path, digest in sorted(expected.items()):
        file = folder / path
        found = find_sha256(file) if file.is_file() else "nothing there"
        if found != digest:
            raise WeightsCorrupt(f"{file} should have sha256 {digest} but has {found}")


def find_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
