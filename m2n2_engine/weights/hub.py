"""Weights on the Hugging Face hub: a repository's files, and what an ordinary client has left on this machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from m2n2_engine.errors import WeightsCorrupt, WeightsUnavailable
from m2n2_engine.weights.catalogue import FILES, TOKENIZER_FILES, Weights

_COMMIT = re.compile(r"[0-9a-f]{40}")


class DownloadFiles(Protocol):
    """Copies the files of a repository that match ``patterns`` into an existing ``folder``; gives their commit."""

    def __call__(self, repository: str, revision: str, folder: Path, patterns: Sequence[str], /) -> str: ...


def is_commit(revision: str) -> bool:
    """Whether a revision names its bytes for ever, and is no branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def download_files(repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> str:
    """Ask the hub, through its own client and with the user's own settings."""
    from huggingface_hub import HfApi, snapshot_download

    # All files of one commit, also where a branch moves in between.
    commit = HfApi().model_info(repository, revision=revision).sha or revision
    snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=list(patterns))
    return commit


def fetch_into(
    folder: Path, entry: Weights, revision: str, half: bool, download: DownloadFiles = download_files
) -> str:
    """Leave the files of ``entry`` in an existing ``folder``, and give their commit.

    Args:
        folder: Empty.
        entry: Of the catalogue, with a repository.
        revision: Of that repository.
        half: Fetch half-precision files; full-precision ones where the repository has no others.
        download: Brings the files.

    Raises:
        WeightsUnavailable: The repository lacks a file that is needed.
        WeightsCorrupt: The hub answered with another commit than the one that was asked for.
    """
    if entry.repository is None:
        raise ValueError(f"{entry.name} is in no repository of the hub")
    for half_files in (True, False) if half else (False,):
        commit = download(entry.repository, revision, folder, [*entry.list_files(half_files), *TOKENIZER_FILES])
        if is_commit(revision) and commit != revision:
            raise WeightsCorrupt(f"{entry.repository} was asked for commit {revision} and gave {commit}")
        if not entry.list_missing(folder):
            break
    else:
        raise WeightsUnavailable(f"the repository {entry.repository} lacks {', '.join(entry.list_missing(folder))}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's own notes on the download
    return commit


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
