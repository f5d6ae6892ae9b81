"""The process that decodes images for the server, which may kill it: ``python -m backend.images.decode_helper``.

Its argument is the descriptor of a socket. One conversation an image: the server sends a file, and the helper answers
with the size in its header. It is told to go on, and answers with the size after turning upright and with the pixels.
Before that answer it says what is missing of a file that is not quite whole. Instead of an answer it may say what is
wrong with the image.
"""

from __future__ import annotations

import contextlib
import math
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

from PIL import Image as PillowImage

from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import InvalidImage
from m2n2_engine.image_file import open_image
from m2n2_engine.image_file.orientation import Orientation

FILE, GO, STOP, SIZE, PIXELS, INVALID, NO_MEMORY, PROBLEM = (bytes([code]) for code in range(8))
"""What a message is: of the server the first three, of the helper the others."""

HEAD = struct.Struct("!cQ")
"""Begins a message: what it is, and how many bytes follow."""

LIMITS = struct.Struct("!dQB")
"""Begins a file: seconds for each of the two steps, the most pixels, and the rule by which they are turned."""

DIMENSIONS = struct.Struct("!QQ")
"""Height and width. After those of ``PIXELS`` come the pixels themselves, RGB, 3 bytes each."""

BYTES_A_PIXEL = 28
"""Memory that decoding may take. Here: measured were 4 for JPEG, 10 for progressive JPEG and AVIF, 16 for WebP, and up
to 24 for JPEG 2000."""

CANVAS_BYTES_A_PIXEL = 8
"""Memory that reading a header may take, for the most pixels that are allowed. Here: WebP's decoder reserves two
canvases, but does not touch them before the pixels are decoded."""

_SPARE_BYTES = 128 * MEBIBYTE
_OPEN_FILES = 32


def send(connection: socket.socket, kind: bytes, *parts: bytes) -> None:
    """Send a message. Raises OSError where nobody is there any more."""
    connection.sendall(HEAD.pack(kind, sum(map(len, parts))))
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[bytes, bytes]:
    """A message: what it is, and what follows. Raises EOFError where the other side has ended, and OSError."""
    kind, count = HEAD.unpack(receive_exactly(connection, bytearray(HEAD.size)))
    return kind, bytes(receive_exactly(connection, bytearray(count)))


def receive_exactly(connection: socket.socket, buffer: bytearray | memoryview) -> bytearray | memoryview:
    """Fill the buffer, which is returned. Raises EOFError where the other side ends before, and OSError."""
    rest = memoryview(buffer)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError("the other side has ended")
        rest = rest[count:]
    return buffer


def main() -> None:
    """Answer until the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # They are sent to the whole group or unit, while the server still finishes its clicks.
        signal.signal(number, signal.SIG_IGN)
    PillowImage.init()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    with contextlib.suppress(OSError):
        # Where memory is short, this process goes first: the server starts another one.
        Path("/proc/self/oom_score_adj").write_text("500")
    with socket.socket(fileno=int(sys.argv[1])) as connection, contextlib.suppress(EOFError, OSError):
        while True:
            _answer(connection)


def _answer(connection: socket.socket) -> None:
    _, content = receive(connection)
    seconds, max_pixels, orientation = LIMITS.unpack_from(content)
    data = content[LIMITS.size :]
    del content
    # The end of this process, also within a library and where the server has been killed meanwhile.
    alarm_seconds = math.ceil(seconds) + 1
    limit_memory(len(data) + CANVAS_BYTES_A_PIXEL * max_pixels)
    signal.alarm(alarm_seconds)
    try:
        with open_image(data, max_pixels=max_pixels, orientation=Orientation(orientation)) as image:
            signal.alarm(0)
            height, width = image.size
            send(connection, SIZE, DIMENSIONS.pack(height, width))
            if receive(connection)[0] == STOP:
                return
            signal.alarm(alarm_seconds)
            limit_memory(len(data) + BYTES_A_PIXEL * height * width)
            image.decode()
            if image.problem is not None:
                send(connection, PROBLEM, image.problem.encode())
            connection.sendall(HEAD.pack(PIXELS, DIMENSIONS.size) + DIMENSIONS.pack(*image.size))
            for rows in image.read_rows():
                connection.sendall(rows.data)
    except InvalidImage as error:
        send(connection, INVALID, str(error).encode("utf-8", "replace"))
    except MemoryError:
        send(connection, NO_MEMORY)
    signal.alarm(0)


def limit_memory(nbytes: int) -> None:
    """Let this process take so much more than it has. Where the system does not tell how much it has, there is no
    limit."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * resource.getpagesize() + _SPARE_BYTES + nbytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    except (OSError, ValueError, IndexError):
        return


if __name__ == "__main__":
    main()
