"""Archives: checked, and unpacked into a folder without ever writing outside of it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from rich.progress import Progress

from m2n2_engine.errors import DatasetError

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError)
"""What the libraries raise of damaged contents; RuntimeError of encrypted ones."""

_REMEDY = "delete it and run the command again, or put a sound copy in its place"


def check(archive: Path, checksum: str) -> None:
    """Raises DatasetError where a file has not this checksum, ``<algorithm>:<hex digits>``."""
    algorithm, _, digits = checksum.partition(":")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digits:
        raise DatasetError(f"{archive} is broken (its {algorithm} should be {digits} but is {found}): {_REMEDY}")


def check_recorded(archive: Path) -> None:
    """Raises DatasetError where an archive is another than the one that ``record`` was called with, if it was."""
    recorded = _record_of(archive)
    if not recorded.is_file():
        return
    digits = recorded.read_text(encoding="utf-8").split(maxsplit=1)[:1]
    if [_find_sha256(archive)] != digits:
        raise DatasetError(
            f"{archive} is another file than the one that was unpacked before (its sha256 is not that of {recorded}): "
            f"put that one in its place, or delete {recorded.name} to take this one"
        )


def record(archive: Path) -> None:
    """Write an archive's sha256 beside it, as ``sha256sum --check`` reads it."""
    _record_of(archive).write_text(f"{_find_sha256(archive)}  {archive.name}\n", encoding="utf-8")


def _record_of(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _find_sha256(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpack a zip or tar archive into a new folder, which is there only when all of it is.

    Raises DatasetError where the archive is broken, or names files outside of the folder.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
    try:
        (_unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar)(archive, partial, progress)
    except _BROKEN as error:
        raise DatasetError(f"{archive} is broken ({error}): {_REMEDY}") from None
    os.replace(partial, folder)


def _unpack_zip(archive: Path, folder: Path, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                raise zipfile.BadZipFile(f"{member.filename} lies outside of it")
        for member in progress.track(members, description=f"unpacking {archive.name}"):
            file.extract(member, folder)


def _unpack_tar(archive: Path, folder: Path, progress: Progress) -> None:
    with (
        progress.open(archive, "rb", description=f"unpacking {archive.name}") as stream,
        tarfile.open(fileobj=stream, mode="r|*") as file,
    ):
        file.extractall(folder, filter="data")
