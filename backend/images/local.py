"""Files below one folder, and of no other place."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from backend.errors import ImageRefused, ImageUnavailable, image_too_large

_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Neither follows a link nor waits for the other end of a pipe."""

_WINDOWS_SEPARATOR = "\\"
_NO_SUCH_FILE = "no such file in the folder of M2N2_LOCAL_FILES_ROOT: check both"


def read_file(root: Path, name: str, max_bytes: int) -> bytes:
    """Bytes of a regular file strictly below the root, also after every symbolic link.

    Links are followed once, to find the file's plain path. That path is then opened step by step without following any,
    so that whoever changes the folder meanwhile leads nowhere else.

    Args:
        root: a folder, as a full path without symbolic links.
        name: relative to it, or a full path.
        max_bytes: of the file.

    Raises:
        ImageRefused: another place, or more than ``max_bytes``.
        ImageUnavailable: there is no such file, or it cannot be read.
    """
    try:
        return _read_plain(root, name, max_bytes)
    except ImageUnavailable:
        # A Label Studio on Windows writes the names of its local files with backslashes.
        if _WINDOWS_SEPARATOR not in name:
            raise
    return _read_plain(root, name.replace(_WINDOWS_SEPARATOR, "/"), max_bytes)


def _read_plain(root: Path, name: str, max_bytes: int) -> bytes:
    try:
        with _open_below(root, _find_steps(root, name)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageUnavailable(_NO_SUCH_FILE)
            if status.st_size > max_bytes:
                raise image_too_large(max_bytes)
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ImageUnavailable(_NO_SUCH_FILE) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise ImageUnavailable(f"the file cannot be read ({type(error).__name__}): check its permissions") from None
    if len(data) > max_bytes:
        raise image_too_large(max_bytes)
    return data


def _find_steps(root: Path, name: str) -> Sequence[str]:
    """The names on the way from the root to the file, without links."""
    path = root / name
    if root not in Path(os.path.normpath(path)).parents:
        raise ImageRefused("the path leads out of the folder of M2N2_LOCAL_FILES_ROOT, which alone is open")
    path = Path(os.path.realpath(path))
    if root not in path.parents:
        raise ImageRefused("a symbolic link leads out of the folder of M2N2_LOCAL_FILES_ROOT, which alone is open")
    return path.relative_to(root).parts


def _open_below(root: Path, steps: Sequence[str]) -> BinaryIO:
    """What lies there, opened for reading. Raises OSError, also where a step is a link."""
    folder = os.open(root, _FOLDER)
    try:
        for step in steps[:-1]:
            below = os.open(step, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        return open(steps[-1], "rb", opener=lambda name, _: os.open(name, _FILE, dir_fd=folder))
    finally:
        os.close(folder)
