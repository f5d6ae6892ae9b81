"""How much of a download has arrived, told while it is under way, whoever downloads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Progress = Callable[[str], None]
"""Called with a sentence for people."""

_MEGABYTE = 1_000_000
_STEPS = 10
"""Sentences of a whole download: a terminal shows each as it comes, a log keeps them all. Here."""

_PAUSE = 0.2
"""Seconds between two looks. Here."""


@contextlib.contextmanager
def watching_size(folder: Path, megabytes: int, progress: Progress, pause_seconds: float = _PAUSE) -> Iterator[None]:
    """Tell at each tenth how much of ``megabytes`` the files below a folder have, as long as the block runs.

    Args:
        folder: Grows.
        megabytes: What is expected in all, in units of 10**6 bytes; what is more is not told.
        progress: Called in a thread of its own.
        pause_seconds: Between two looks.
    """
    is_over = threading.Event()

    def watch() -> None:
        told = 0
        while not is_over.wait(pause_seconds):
            arrived = min(_measure(folder) // _MEGABYTE, megabytes)
            step = arrived * _STEPS // max(megabytes, 1)
            if step > told:
                told = step
                progress(f"{arrived} of {megabytes} MB" + (", being unpacked and checked" if step == _STEPS else ""))

    watcher = threading.Thread(target=watch, name="watch-download", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _measure(folder: Path) -> int:
    """Bytes of the files below a folder, of which those that go away meanwhile do not count."""
    total = 0
    with contextlib.suppress(OSError):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size if path.is_file() else 0
    return total
