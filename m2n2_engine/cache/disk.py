"""The attention cache on disk: a safetensors file an image, in a folder that processes and restarts share.

In the folder, ``attention-<digits>.safetensors`` is an image, ``.partial`` one that is being written, ``.lock`` one
that is being built; ``attention.lock`` is held by who writes or deletes, and ``attention.key`` signs the images.
Nothing else there is touched. Locks are the kernel's: they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.cache.private_folder import NotPrivate, PrivateFolder
from m2n2_engine.cache.stored_image import (
    IMAGE_SUFFIX,
    SIGNATURE_BYTES,
    UnusableFile,
    parse,
    render_file_name,
    serialise,
    sign,
)
from m2n2_engine.method.chain import BalancedFactors
from m2n2_engine.types import NEVER, Deadline, TierStatus

_PARTIAL, _LOCK = ".partial", ".lock"
_NAME = re.compile(r"attention-[0-9a-f]{32}(\.safetensors|\.partial|\.lock)")
_LONGEST_BUILD_SECONDS = 60.0
"""What is waited at most for another process to build an image; longer than that can sensibly take."""

_LONGEST_WRITE_SECONDS = 10.0
"""What is waited for another process to write."""

_WAITING_SHARE = 0.5
"""Of the time that is left, what may go to waiting for another process: the rest is for building the image here."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredImage:
    """A file of the folder. used_seconds: time of its last use, in seconds since the epoch."""

    path: Path
    nbytes: int
    used_seconds: float


class DiskStore:
    """Balanced factors in a folder, within a byte budget that all its users keep together; safe under threads.

    No method fails because of the folder: what cannot be read counts as a miss, and what cannot be written is counted
    and named in the log, once until writing succeeds again.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        """folder: made by the first write, for its owner alone, as what it holds is made from images. It is not used
        while others may write to it."""
        self._folder = folder
        self._private = PrivateFolder(folder)
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = self._write_failures = 0
        self._images = self._bytes = 0
        self._is_failing = False

    def __contains__(self, key: AttentionKey) -> bool:
        """Whether there is a file of ``key``, usable or not."""
        return (self._folder / render_file_name(key)).is_file()

    def load(self, key: AttentionKey) -> BalancedFactors | None:
        """What is kept of ``key``, in host memory, and now the most recently used; None where there is nothing usable,
        and then no file any more."""
        path = self._folder / render_file_name(key)
        balanced = None
        try:
            balanced = self.read_image(path)
            _touch(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except NotPrivate as problem:
            self._tell_failure(problem)
        except UnusableFile as problem:
            logger.warning("%s cannot be used and is deleted: %s", path, problem)
            _delete(path)
        with self._lock:
            self._hits += balanced is not None
            self._misses += balanced is None
        return balanced

    def save(self, key: AttentionKey, balanced: BalancedFactors) -> None:
        """Keep this, and nothing for it that is least recently used; nothing at all where it alone exceeds the budget.

        balanced: in host memory.
        """
        body = serialise(key, balanced)
        nbytes = len(body) + SIGNATURE_BYTES
        if nbytes > self._budget_bytes:
            return
        name = render_file_name(key)

        def write() -> None:
            self._make_room(nbytes)
            content = body + sign(body, self._private.make_key())
            self._private.write(name, f"{Path(name).stem}{_PARTIAL}", content)

        self._change(write)

    def read_image(self, path: Path) -> BalancedFactors:
        """What a file of the folder holds, checked to the last bit.

        Raises UnusableFile, FileNotFoundError, NotADirectoryError, and NotPrivate where others may write to the folder.
        """
        secret = self._private.read_key()
        if secret is None:
            path.lstat()  # raises where there is no such file
            raise UnusableFile("the key that signed it is gone")
        try:
            return parse(path.name, self._private.read(path.name), secret)
        except (FileNotFoundError, NotADirectoryError, NotPrivate):
            raise
        except OSError as error:
            raise UnusableFile(f"it cannot be read: {error}") from error

    def check_folder(self) -> None:
        """Raise NotPrivate where others may write to the folder, or know its key."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._private.read_key()

    def tidy(self) -> None:
        """Delete what killed processes left, and images until the budget is kept."""
        if self._folder.is_dir():
            self._change(lambda: self._make_room(0))

    def clear(self) -> list[StoredImage]:
        """Delete all images; returns them. Raises OSError where that cannot be done."""
        if not self._folder.is_dir():
            return []
        self._private.check()
        with self._file_lock("attention", _LONGEST_WRITE_SECONDS):
            images = self.list_images()
            for image in images:
                image.path.unlink(missing_ok=True)
            self._sweep()
        return images

    @contextlib.contextmanager
    def building(self, key: AttentionKey, deadline: Deadline = NEVER) -> Iterator[None]:
        """Held while an image is looked for and built, so that of all processes one builds it.

        Goes on without the lock where there can be none, or where its holder takes too long: a minute, or half of what
        is left until the deadline.
        """
        seconds = min(_LONGEST_BUILD_SECONDS, _WAITING_SHARE * deadline.remaining_seconds)
        lock = self._file_lock(Path(render_file_name(key)).stem, seconds)
        try:
            self._private.check()
            lock.acquire()
        except OSError as problem:
            logger.debug("building without the lock %s: %s", lock.lock_file, problem)
        try:
            yield
        finally:
            if lock.is_locked:
                _drop(lock)

    def list_images(self) -> list[StoredImage]:
        """The images of the folder, the least recently used first. Raises OSError where it cannot be read."""
        images = []
        for path in self._own_files(IMAGE_SUFFIX):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                status = path.lstat()
                images.append(StoredImage(path, status.st_size, status.st_mtime))
        return sorted(images, key=lambda image: image.used_seconds)

    @property
    def status(self) -> TierStatus:
        """Counts of this process; images and bytes as they were after its last write."""
        with self._lock:
            return TierStatus(
                images=self._images,
                bytes=self._bytes,
                budget_bytes=self._budget_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    @property
    def write_failures(self) -> int:
        """Images that could not be written, since the start."""
        return self._write_failures

    def _change(self, action: Callable[[], None]) -> None:
        """Call this alone among all processes; where the folder does not allow it, it ends there and is counted."""
        try:
            lock = self._file_lock("attention", _LONGEST_WRITE_SECONDS)
            self._private.check()
            with lock:
                action()
                self._count_images()
        except OSError as error:
            with self._lock:
                self._write_failures += 1
            self._tell_failure(error)
        else:
            self._is_failing = False

    def _tell_failure(self, error: OSError) -> None:
        with self._lock:
            level = logging.DEBUG if self._is_failing else logging.WARNING
            self._is_failing = True
        logger.log(
            level,
            "the attention cache in %s cannot be used: %s; set M2N2_DISK_CACHE_FOLDER to a folder that can, or "
            "M2N2_DISK_CACHE_MIB=0",
            self._folder,
            error,
        )

    def _make_room(self, nbytes: int) -> None:
        self._sweep()
        images = self.list_images()
        used = sum(image.nbytes for image in images)
        for image in images:
            if used <= self._budget_bytes - nbytes:
                return
            image.path.unlink(missing_ok=True)
            used -= image.nbytes
            with self._lock:
                self._evictions += 1

    def _count_images(self) -> None:
        images = self.list_images()
        with self._lock:
            self._images, self._bytes = len(images), sum(image.nbytes for image in images)

    def _sweep(self) -> None:
        """Delete what killed processes left. Whoever writes holds the lock that is held here."""
        for path in self._own_files(_PARTIAL):
            path.unlink(missing_ok=True)
        for path in self._own_files(_LOCK):
            lock = self._file_lock(path.stem, 0)
            with contextlib.suppress(OSError):  # its holder is alive
                lock.acquire()
                _drop(lock)

    def _own_files(self, suffix: str) -> list[Path]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return [self._folder / name for name in names if name.endswith(suffix) and _NAME.fullmatch(name)]

    def _file_lock(self, stem: str, timeout_seconds: float) -> FileLock:
        with contextlib.suppress(OSError):  # acquiring says what is wrong
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A lock that is a mere file would outlive its holder. One thread may take it and another release it: what is
        # written behind a click holds that of its image.
        return FileLock(
            self._folder / f"{stem}{_LOCK}", timeout=timeout_seconds, fallback_to_soft=False, thread_local=False
        )


def _touch(path: Path) -> None:
    """Set the time of last use, finer than the clock that the kernel sets it by."""
    now = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(path, ns=(now, now), follow_symlinks=False)


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _drop(lock: FileLock) -> None:
    """Delete a lock's file and release it. In this order: whoever waits for it sees that it has no name any more, and
    takes a new one, on which all others agree."""
    _delete(Path(lock.lock_file))
    lock.release()
