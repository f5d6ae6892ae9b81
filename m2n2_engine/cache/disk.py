"""The attention cache on disk: a safetensors file an image, in a folder that processes and restarts share.

In the folder, ``attention-<digits>.safetensors`` is an image, ``.partial`` one that is being written, ``.lock`` one
that is being built; ``attention.lock`` is held by who writes or deletes. Nothing else there is touched. Locks are the
kernel's: they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors
from m2n2_engine.types import NEVER, Deadline, TierStatus

FORMAT = "1"
"""Changes with the layout of the files; files of another format are never found, and go as the least recently used."""

_IMAGE, _PARTIAL, _LOCK = ".safetensors", ".partial", ".lock"
_NAME = re.compile(r"attention-[0-9a-f]{32}(\.safetensors|\.partial|\.lock)")
_LONGEST_BUILD_SECONDS = 60.0
"""What is waited at most for another process to build an image; longer than that can sensibly take."""

_LONGEST_WRITE_SECONDS = 10.0
"""What is waited for another process to write."""

_WAITING_SHARE = 0.5
"""Of the time that is left, what may go to waiting for another process: the rest is for building the image here."""

logger = logging.getLogger(__name__)


class UnusableFile(Exception):
    """A file in an image's place that does not hold that image; the message says why."""


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
        """folder: made by the first write, for its owner alone, as what it holds is made from images."""
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = self._write_failures = 0
        self._images = self._bytes = 0
        self._is_failing = False

    def __contains__(self, key: AttentionKey) -> bool:
        """Whether there is a file of ``key``, usable or not."""
        return (self._folder / _file_name(key)).is_file()

    def load(self, key: AttentionKey) -> BalancedFactors | None:
        """What is kept of ``key``, in host memory, and now the most recently used; None where there is nothing usable,
        and then no file any more."""
        path = self._folder / _file_name(key)
        try:
            balanced = read_image(path)
        except (FileNotFoundError, NotADirectoryError):
            balanced = None
        except UnusableFile as problem:
            logger.warning("%s cannot be used and is deleted: %s", path, problem)
            _delete(path)
            balanced = None
        else:
            _touch(path)
        with self._lock:
            self._hits += balanced is not None
            self._misses += balanced is None
        return balanced

    def save(self, key: AttentionKey, balanced: BalancedFactors) -> None:
        """Keep this, and nothing for it that is least recently used; nothing at all where it alone exceeds the budget.

        balanced: in host memory.
        """
        content = _serialise(key, balanced)
        if len(content) > self._budget_bytes:
            return
        path = self._folder / _file_name(key)

        def write() -> None:
            self._make_room(len(content))
            _write(path, content)

        self._change(write)

    def tidy(self) -> None:
        """Delete what killed processes left, and images until the budget is kept."""
        if self._folder.is_dir():
            self._change(lambda: self._make_room(0))

    def clear(self) -> list[StoredImage]:
        """Delete all images; returns them. Raises OSError where that cannot be done."""
        if not self._folder.is_dir():
            return []
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
        lock = self._file_lock(Path(_file_name(key)).stem, seconds)
        try:
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
        for path in self._own_files(_IMAGE):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                status = path.stat()
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
            with self._file_lock("attention", _LONGEST_WRITE_SECONDS):
                action()
                self._count_images()
        except OSError as error:
            with self._lock:
                self._write_failures += 1
                level = logging.DEBUG if self._is_failing else logging.WARNING
                self._is_failing = True
            logger.log(level, "the attention cache in %s cannot be written: %s", self._folder, error)
        else:
            self._is_failing = False

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
        # A lock that is a mere file would outlive its holder.
        return FileLock(self._folder / f"{stem}{_LOCK}", timeout=timeout_seconds, fallback_to_soft=False)


def read_image(path: Path) -> BalancedFactors:
    """What a file holds, checked to the last bit. Raises UnusableFile, FileNotFoundError or NotADirectoryError."""
    try:
        # Not the default, a memory map: it would show what others do to the file later, and end this process by a
        # signal where they cut it.
        with safe_open(path, framework="pt", backend="pread") as file:
            metadata, tensors = file.metadata() or {}, file.get_tensors()
        return _parse(path.name, metadata, tensors)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, SafetensorError) as error:
        raise UnusableFile(f"it cannot be read: {error}") from error


def _parse(name: str, metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> BalancedFactors:
    found = metadata.pop("crc32", None)
    if metadata.get("format") != FORMAT:
        raise UnusableFile(f"it is of format {metadata.get('format')}, not {FORMAT}")
    if found != _checksum(metadata, tensors):
        raise UnusableFile("its content has changed since it was written")
    if name != _file_name(AttentionKey(metadata["image"], metadata["fingerprint"])):
        raise UnusableFile("it is another image's")
    layers = tuple(
        LayerFactors(tensors.get(f"query.{i}", tensors[f"key.{i}"]), tensors[f"key.{i}"], weight, special_tokens, scale)
        for i, (weight, special_tokens, scale) in enumerate(json.loads(metadata["layers"]))
    )
    height, width = json.loads(metadata["grid"])
    return BalancedFactors(AttentionFactors(layers, (height, width)), tensors["rows"], tensors["columns"])


def _serialise(key: AttentionKey, balanced: BalancedFactors) -> bytes:
    layers = balanced.factors.layers
    tensors = {"rows": balanced.rows, "columns": balanced.columns}
    for i, layer in enumerate(layers):
        tensors[f"key.{i}"] = layer.key
        if layer.query is not layer.key:
            tensors[f"query.{i}"] = layer.query
    # Copies: tensors of two layers may be views of the same memory, which the format does not take.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "image": key.image,
        "fingerprint": key.fingerprint,
        "grid": json.dumps(balanced.factors.grid),
        "layers": json.dumps([(layer.weight, layer.special_tokens, layer.scale) for layer in layers]),
    }
    return save(tensors, {**metadata, "crc32": _checksum(metadata, tensors)})


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """Eight hex digits of all that a file holds.

    It stands in for waiting until the disk has the file: after a power cut a file may be there with other content.
    """
    crc = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _file_name(key: AttentionKey) -> str:
    text = "\n".join((FORMAT, key.image, key.fingerprint))
    return f"attention-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}{_IMAGE}"


def _write(path: Path, content: bytes) -> None:
    """All of it under its name, or nothing."""
    partial = path.with_suffix(_PARTIAL)
    try:
        partial.write_bytes(content)
        _touch(partial)
        os.replace(partial, path)
    except OSError:
        _delete(partial)
        raise


def _touch(path: Path) -> None:
    """Set the time of last use, finer than the clock that the kernel sets it by."""
    now = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(path, ns=(now, now))


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _drop(lock: FileLock) -> None:
    """Delete a lock's file and release it. In this order: whoever waits for it sees that it has no name any more, and
    takes a new one, on which all others agree."""
    _delete(Path(lock.lock_file))
    lock.release()
