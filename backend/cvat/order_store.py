"""The order of clicks on every picture that was clicked lately: in memory, and in files that outlast the process.

A picture has a file, so that all processes of a server tell the same order, and so does the one that is started after
them. The files hold coordinates and signs, and their names the digests of pictures.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from backend.cvat.click_order import Prompts, restore_order
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.types import Click, Picture

_KEPT_PICTURES = 256
"""In memory. Here: some hundred bytes each, where there is a folder they are read from there."""

_MOST_FILES = 10_000
_MOST_FILES_BYTES = 64 * MEBIBYTE
"""Of all files together, the oldest are deleted. Here: one is of a few hundred bytes as a rule."""

_MOST_FILE_BYTES = 4 * MEBIBYTE
"""A larger one is none of ours."""

_WRITABLE_BY_OTHERS = 0o022
_NAME = re.compile(r"[0-9a-f]{32}\.json")

logger = logging.getLogger(__name__)


class OrderStore:
    """Remembers the order of clicks by picture; safe under threads. No click fails because of its folder."""

    def __init__(self, folder: Path | None) -> None:
        """folder: made by the first write, with mode 700, as the folder that it lies in; None to keep nothing there."""
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Prompts] = OrderedDict()
        self._is_failing = False

    def restore(self, picture: Picture, clicks: Sequence[Click]) -> tuple[Click, ...]:
        """The clicks on a picture, oldest first as far as is known, as `restore_order` tells it."""
        known = self._read(picture.digest)
        ordered, prompts = restore_order(known, clicks)
        # Positive clicks alone come in their order, and go on being told apart from negative ones that follow.
        if any(not click.positive for click in clicks):
            self._keep(picture.digest, prompts)
        return ordered

    def _read(self, digest: str) -> Prompts:
        if self._folder is not None:
            with contextlib.suppress(OSError, ValueError, TypeError):
                return _parse((self._folder / f"{digest}.json").read_bytes())
        with self._lock:
            return self._kept.get(digest, ())

    def _keep(self, digest: str, prompts: Prompts) -> None:
        with self._lock:
            self._kept[digest] = prompts
            self._kept.move_to_end(digest)
            if len(self._kept) > _KEPT_PICTURES:
                self._kept.popitem(last=False)
        if self._folder is None:
            return
        try:
            _write(self._folder, digest, prompts)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                logger.warning("the order of clicks cannot be written to %s: %s", self._folder, error)
            self._is_failing = True


def _parse(content: bytes) -> Prompts:
    """Raises ValueError and TypeError for what is no file of ours."""
    if len(content) > _MOST_FILE_BYTES:
        raise ValueError("too large")
    return tuple(
        tuple(Click(float(x), float(y), bool(positive)) for x, y, positive in prompt) for prompt in json.loads(content)
    )


def _write(folder: Path, digest: str, prompts: Prompts) -> None:
    folder.parent.mkdir(0o700, parents=True, exist_ok=True)
    folder.mkdir(0o700, exist_ok=True)
    _check_private(folder)
    path = folder / f"{digest}.json"
    is_new = not path.exists()
    content = [[[click.x, click.y, click.positive] for click in prompt] for prompt in prompts]
    partial = folder / f"{digest}.{os.getpid()}.{threading.get_ident()}.partial"
    partial.write_text(json.dumps(content, separators=(",", ":")))
    partial.replace(path)
    if is_new:
        _make_room(folder)


def _check_private(folder: Path) -> None:
    """Raise PermissionError where the folder is somebody else's, open to others, or a link to another one."""
    status = os.lstat(folder)
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not is_ours or status.st_mode & _WRITABLE_BY_OTHERS:
        raise PermissionError("it must be a folder of this user that nobody else may write to")


def _make_room(folder: Path) -> None:
    """Delete the files that were written longest ago, until the others keep to the limits."""
    files = [(entry.stat(), entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)]
    files.sort(key=lambda file: file[0].st_mtime, reverse=True)
    kept_bytes = 0
    for place, (status, path) in enumerate(files):
        kept_bytes += status.st_size
        if place >= _MOST_FILES or kept_bytes > _MOST_FILES_BYTES:
            Path(path).unlink(missing_ok=True)
