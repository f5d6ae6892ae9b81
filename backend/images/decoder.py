"""Bytes of an image file -> pixels, in a helper process that is killed where it takes too long."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np

from backend.images import decode_helper
from backend.images.decode_helper import DIMENSIONS, LIMITS, receive, receive_exactly, send
from backend.images.pixel_budget import PixelBudget
from m2n2_engine.errors import DeadlineExceeded, InvalidImage
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.types import NEVER, Deadline, Image

_ATTEMPTS = 2
"""A helper may be killed by others while it works; an image that ends two is refused."""

_SECRET_PREFIXES = ("M2N2_", "LABEL_STUDIO_")
"""Of variables that the helper is not given."""

logger = logging.getLogger(__name__)


class HelperEnded(Exception):
    """The helper process has ended before its answer."""


class Helper:
    """One helper process, for one conversation at a time.

    is_idle: no conversation is under way. problem: what is missing of the last file, where it is not quite whole.
    """

    def __init__(self) -> None:
        self.is_idle = True
        self.problem: str | None = None
        self._connection, theirs = socket.socketpair()
        environ = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)}
        # What can be imported here can be there, whatever changed the path; -P: and nothing of the folder that this
        # process was started in.
        environ |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", decode_helper.__name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def read_size(self, data: bytes, max_pixels: int, orientation: Orientation, seconds: float) -> tuple[int, int]:
        """``(H, W)`` of a file's header. seconds: for this step, and for the helper for each of the two.

        Raises InvalidImage, HelperEnded and TimeoutError.
        """
        self.is_idle, self.problem = False, None
        with self._waiting(seconds):
            send(self._connection, decode_helper.FILE, LIMITS.pack(seconds, max_pixels, orientation.value), data)
            return self._receive_dimensions()

    def read_pixels(self, seconds: float) -> Image:
        """The pixels of that file, RGB uint8 ``(H, W, 3)``, in memory of their own. Raises as ``read_size``."""
        with self._waiting(seconds):
            send(self._connection, decode_helper.GO)
            pixels = np.empty((*self._receive_dimensions(), 3), np.uint8)
            receive_exactly(self._connection, pixels.data.cast("B"))
        self.is_idle = True
        return pixels

    def stop(self) -> None:
        """Leave the pixels of that file. Raises HelperEnded."""
        with self._waiting(1.0):
            send(self._connection, decode_helper.STOP)
        self.is_idle = True

    def end(self) -> int:
        """Kill the process, if it has not ended, and forget it; its exit status, or minus the signal that ended it."""
        self._connection.close()
        self._process.kill()
        return self._process.wait()

    @contextlib.contextmanager
    def _waiting(self, seconds: float) -> Iterator[None]:
        self._connection.settimeout(max(seconds, 0.001))  # 0 would mean not to wait at all
        try:
            yield
        except TimeoutError:
            raise
        except (EOFError, OSError) as error:
            raise HelperEnded from error

    def _receive_dimensions(self) -> tuple[int, int]:
        kind, content = receive(self._connection)
        if kind == decode_helper.PROBLEM:
            self.problem = content.decode()
            kind, content = receive(self._connection)
        self.is_idle = kind in (decode_helper.INVALID, decode_helper.NO_MEMORY)
        if kind == decode_helper.INVALID:
            raise InvalidImage(content.decode())
        if kind == decode_helper.NO_MEMORY:
            raise InvalidImage("decoding the image takes more memory than images of its size do: export it again")
        height, width = DIMENSIONS.unpack(content)
        return height, width


class HelperPool:
    """Helper processes that are kept between images; safe under threads."""

    def __init__(self, size: int) -> None:
        """size: as many work at a time. Each is started when it is first needed."""
        self._process_id = os.getpid()
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[Helper] = []
        atexit.register(self.close)

    @contextlib.contextmanager
    def lend(self, deadline: Deadline) -> Iterator[Helper]:
        """A helper for one conversation; one that is still at it afterwards is killed. Raises DeadlineExceeded."""
        if not self._places.acquire(timeout=None if math.isinf(deadline.at) else deadline.remaining_seconds):
            raise DeadlineExceeded("no time is left to decode the image: too much is asked at once, try again")
        try:
            helper = self._take()
            try:
                yield helper
            finally:
                if helper.is_idle:
                    self._idle.append(helper)
                else:
                    status = helper.end()
                    logger.warning(
                        "the helper process %d, which decodes images, is ended: status %d", helper.process_id, status
                    )
        finally:
            self._places.release()

    def _take(self) -> Helper:
        """One that has nothing to do, or a new one."""
        while self._idle:
            helper = self._idle.pop()
            if helper.is_alive:
                return helper
            helper.end()  # killed meanwhile, for example where memory was short
        return Helper()

    def close(self) -> None:
        """End the helpers that have nothing to do."""
        while self._idle and self._process_id == os.getpid():  # not those of the process that forked this one
            self._idle.pop().end()


@functools.lru_cache(maxsize=4)
def find_pool(process: int, size: int) -> HelperPool:
    """The pool of this size of a process. process: its id, as a forked child inherits the pool, not the helpers."""
    del process
    return HelperPool(size)


class Decoder:
    """Decodes image files in helper processes; safe under threads."""

    def __init__(self, max_pixels: int, timeout_seconds: float, processes: int, budget: PixelBudget) -> None:
        """Build a decoder.

        Args:
            max_pixels: of one image.
            timeout_seconds: for each of two steps, the header and the pixels.
            processes: helpers that work at a time; shared by all decoders of this process.
            budget: of the pixels that are in memory at a time.
        """
        self._max_pixels = max_pixels
        self._timeout_seconds = timeout_seconds
        self._processes = processes
        self._budget = budget

    def decode(
        self,
        data: bytes,
        deadline: Deadline = NEVER,
        *,
        orientation: Orientation = Orientation.FILE,
        name: str = "of no name",
    ) -> Image:
        """The pixels of an image file, as `m2n2_engine.image_file.decode_image` gives them.

        Args:
            data: the file.
            deadline: of the request that waits.
            orientation: the rule by which the pixels are turned.
            name: the image in the log, where it is told what is missing of a file that is not quite whole.

        Raises InvalidImage, also where decoding takes too long or too much memory; DeadlineExceeded.
        """
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(HelperEnded):
                pixels, problem = self._decode_once(data, deadline, orientation)
                if problem is not None:
                    logger.warning("image %s: %s", name, problem)
                return pixels
        raise InvalidImage("decoding the image ended the process that did it: export it again")

    def _decode_once(self, data: bytes, deadline: Deadline, orientation: Orientation) -> tuple[Image, str | None]:
        with find_pool(os.getpid(), self._processes).lend(deadline) as helper:
            with self._within(deadline) as seconds:
                height, width = helper.read_size(data, self._max_pixels, orientation, seconds)
            try:
                self._budget.reserve(height * width, deadline)
            except DeadlineExceeded:
                helper.stop()
                raise
            try:
                with self._within(deadline) as seconds:
                    pixels = helper.read_pixels(seconds)
            except BaseException:
                self._budget.release(height * width)
                raise
            problem = helper.problem
        self._budget.release_with(pixels)
        return pixels, problem

    @contextlib.contextmanager
    def _within(self, deadline: Deadline) -> Iterator[float]:
        """Seconds for a step; raises what it means where they do not suffice."""
        try:
            yield min(self._timeout_seconds, deadline.remaining_seconds)
        except TimeoutError:
            deadline.check("decode the image")
            raise InvalidImage(
                f"decoding the image takes more than {self._timeout_seconds:g} s: export it again as a plain JPEG or "
                "PNG, or raise M2N2_DECODE_TIMEOUT_SECONDS"
            ) from None
