"""One client's connection: what has arrived of its request and what is to be sent to it. Nothing here waits."""

from __future__ import annotations

import contextlib
import re
import socket
import time
import urllib.parse
from typing import Any

from gunicorn.http import RequestParser
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders

LONGEST_HEAD_BYTES = 32 * 1024
"""Request line and headers. Here: gunicorn takes 800 kB, Label Studio, CVAT and nginx send less than 2 kB."""

MOST_CHUNKS = 16_384
"""Of one body. Here: 64 MiB in pieces of 4 kB; each costs the loop some microseconds."""

LONGEST_CHUNK_LINE_BYTES = 8 * 1024
"""Size and extension of a chunk, and what follows the last one. gunicorn's own limit is two bytes less."""

_READ_BYTES = 1024 * 1024
_PARTS_AT_ONCE = 64
_END_OF_HEAD = re.compile(rb"\r\n\r\n|\n\n")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,12}")


class Inbox:
    """What has arrived and is not parsed yet; gunicorn's parser reads it as if it were the socket."""

    def __init__(self) -> None:
        self.arrived = bytearray()

    def recv(self, size: int) -> bytes:
        """The next bytes, none where there are no more."""
        part = bytes(self.arrived[:size])
        del self.arrived[:size]
        return part


class Outbox:
    """The socket as gunicorn's response sees it: an answer is kept, and sent as a whole when it is there as a whole.

    So a client that does not read its answer holds no thread, and a process that is killed leaves no half answers,
    which a proxy could not ask another process for, but for those larger than what the system takes at once.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._left: list[memoryview] = []

    @property
    def size_bytes(self) -> int:
        """What is kept."""
        return sum(map(len, self._left))

    def sendall(self, data: bytes) -> None:
        """Keep what is to be sent."""
        if data:
            self._left.append(memoryview(data))

    send = sendall

    def flush(self) -> bool:
        """Send what the system takes now; whether that was all. Raises OSError where the client is gone."""
        with contextlib.suppress(BlockingIOError):
            while self._left:
                self._drop(self._sock.sendmsg(self._left[:_PARTS_AT_ONCE]))
        return not self._left

    def _drop(self, size: int) -> None:
        while self._left and size >= len(self._left[0]):
            size -= len(self._left.pop(0))
        if size:
            self._left[0] = self._left[0][size:]

    def gettimeout(self) -> float:
        """It never blocks."""
        return 0.0

    def close(self) -> None:
        """The worker closes it, once all is sent; gunicorn asks for it after an error in the middle of an answer."""

    def shutdown(self, how: int) -> None:
        """See ``close``."""
        raise OSError("the worker ends this connection")


class Connection:
    """A client.

    client, server: addresses. arrival: when the first byte of its request came, by ``time.monotonic``. request: what
    gunicorn parsed of its head. refusal: why it is not served. reserved_bytes: how large its body may become.
    """

    def __init__(self, config: Any, sock: socket.socket, client: Any, server: Any) -> None:
        sock.setblocking(False)
        self.raw = sock
        self.sock = Outbox(sock)
        self.client, self.server = client, server
        self._inbox = Inbox()
        self.parser = RequestParser(config, self._inbox, client)
        self.begin()

    def begin(self) -> None:
        """Forget the last request; what was sent behind it is the beginning of the next."""
        self._inbox.arrived[:0] = self.parser.unreader.take_buffered()
        self.arrival = time.monotonic()
        self.request: Any = None
        self.refusal: Exception | None = None
        self.reserved_bytes = 0
        self.is_ended = False
        self._chunks = self._position = 0

    @property
    def held_bytes(self) -> int:
        """Memory that this client takes, or may take without being asked again."""
        return max(self.reserved_bytes, self.arrived_bytes) + self.sock.size_bytes

    @property
    def arrived_bytes(self) -> int:
        """Of the request's head, and once that is parsed of its body."""
        return len(self._inbox.arrived)

    @property
    def worth(self) -> int:
        """0 where only the client's end is awaited, 2 where a body or an answer is under way, else 1."""
        if self.reserved_bytes or self.sock.size_bytes:
            return 2
        return 1 if self.request is None else 0

    def turn_away(self, refusal: Exception) -> None:
        """Forget the body of the request, which is to be answered with this error, and the connection closed."""
        self.refusal = refusal
        self.reserved_bytes = 0
        self._inbox.arrived.clear()
        self.request.force_close()

    def receive(self) -> None:
        """Take what has arrived. Raises OSError where the client is gone."""
        with contextlib.suppress(BlockingIOError):
            if self.request is None and not self.arrived_bytes:
                self.arrival = time.monotonic()
            part = self.raw.recv(LONGEST_HEAD_BYTES if self.request is None else _READ_BYTES)
            self._inbox.arrived += part
            self.is_ended = not part

    def discard(self) -> bool:
        """Whether the client may still send what nobody wants; what has arrived of it is thrown away."""
        try:
            return bool(self.raw.recv(_READ_BYTES))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def parse_head(self) -> bool:
        """Whether the head is there, as ``request``. Raises what gunicorn raises for one that is wrong."""
        if not _END_OF_HEAD.search(self._inbox.arrived, self._position):
            self._position = max(0, self.arrived_bytes - 3)
            if self.arrived_bytes >= LONGEST_HEAD_BYTES:
                raise LimitRequestHeaders("the head is too long")
            return False
        self._position = 0
        self.request = next(self.parser)
        self._inbox.arrived[:0] = self.parser.unreader.take_buffered()
        return True

    @property
    def path(self) -> str:
        """Of the request, decoded."""
        return urllib.parse.unquote(self.request.path)

    @property
    def body_bytes(self) -> int | None:
        """Length of the body; None for one in chunks, which does not tell."""
        reader = self.request.body.reader
        return None if isinstance(reader, ChunkedReader) else reader.length

    @property
    def authorization(self) -> str | None:
        """The header of that name."""
        return next((value for name, value in self.request.headers if name == "AUTHORIZATION"), None)

    @property
    def expects_word(self) -> bool:
        """Whether the client waits for a word before it sends its body."""
        return ("EXPECT", "100-continue") in ((name, value.lower()) for name, value in self.request.headers)

    def has_body(self) -> bool:
        """Whether the whole body is there, or so much of it that it is surely wrong."""
        length = self.body_bytes
        return self._has_chunks() if length is None else self.arrived_bytes >= length

    def _has_chunks(self) -> bool:
        """Finds the end of the last chunk. What is not as it should be counts as the end: gunicorn, which then reads
        it, finds the same."""
        arrived = self._inbox.arrived
        while self._chunks < MOST_CHUNKS:
            end = arrived.find(b"\r\n", self._position)
            if end < 0:
                return len(arrived) - self._position > LONGEST_CHUNK_LINE_BYTES
            size = _CHUNK_SIZE.match(arrived, self._position, end)
            if size is None:
                return True
            length = int(size[0], 16)
            if length == 0:
                # Nothing or trailers, and an empty line.
                is_over = arrived.find(b"\r\n\r\n", end) >= 0
                return is_over or len(arrived) - end > LONGEST_CHUNK_LINE_BYTES
            following = end + 2 + length + 2
            if following > len(arrived):
                # gunicorn will say what is wrong with bytes in place of the line break.
                return False
            self._position = following
            self._chunks += 1
        return True
