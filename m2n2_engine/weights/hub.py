"""Weights on the Hugging Face hub: a repository's files, and what an ordinary client has left on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from m2n2_engine.errors import WeightsUnavailable
from m2n2_engine.weights.catalogue import FILES, TOKENIZER_FILES, Weights


class DownloadFiles(Protocol):
    """Copies the files of a repository that match ``patterns`` into an existing ``folder``."""

    def __call__(self, repository: str, revision: str, folder: Path, patterns: Sequence[str], /) -> None: ...


def download_files(repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> None:
    """Ask the hub, through its own client and with the user's own settings."""
    from huggingface_hub import snapshot_download

    snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(patterns))


def fetch_into(folder: Path, entry: Weights, half: bool, download: DownloadFiles = download_files) -> None:
    """Leave the files of ``entry`` in an existing ``folder``.

    Args:
        folder: Empty.
        entry: Of the catalogue, with a repository.
        half: Fetch half-precision files; full-precision ones where the repository has no others.
        download: Brings the files.

    Raises:
        WeightsUnavailable: The repository lacks a file that is needed.
    """
    if entry.repository is None:
        raise ValueError(f"{entry.name} is in no repository of the hub")
    for half_files in (True, False) if half else (False,):
        download(entry.repository, entry.revision, folder, [*entry.list_files(half_files), *TOKENIZER_FILES])
        if not entry.list_missing(folder):
            break
    else:
        raise WeightsUnavailable(f"the repository {entry.repository} lacks {', '.join(entry.list_missing(folder))}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's own notes on the download


def find_cached(entry: Weights, cache_folder: Path | None) -> list[Path]:
    """The snapshot of ``entry`` in the ordinary Hugging Face cache, if there is one.

    Args:
        entry: Of the catalogue.
        cache_folder: The cache; None takes the one of the hub's client.
    """
    if entry.repository is None:
        return []
    from huggingface_hub import try_to_load_from_cache

    probe = FILES[entry.family][0]
    found = try_to_load_from_cache(entry.repository, probe, cache_dir=cache_folder, revision=entry.revision)
    return [Path(found.removesuffix(probe))] if isinstance(found, str) else []
