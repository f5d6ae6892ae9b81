"""Clients that mean harm, on loopback and bounded in number: what they send, and how /health fares meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator

import requests

_LONGEST_SECONDS = 30.0
"""Of one step of an attack."""


@dataclasses.dataclass(frozen=True)
class Attack:
    """So many connections that each send these bytes and stay open. is_answered: whether each reads the first byte of
    an answer before the next is opened. receive_bytes: room for an answer that is not read, 0 for the system's own."""

    connections: int
    sent: bytes
    is_answered: bool = False
    receive_bytes: int = 0


def render_head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request with these header lines."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *lines, "", ""]).encode()


@contextlib.contextmanager
def hold(url: str, attack: Attack) -> Iterator[list[socket.socket]]:
    """The attack's connections, open while the block works."""
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(attack.connections):
            connection = stack.enter_context(connect(url, attack.receive_bytes))
            # The server may have had enough of it already.
            with contextlib.suppress(OSError):
                connection.sendall(attack.sent)
                if attack.is_answered:
                    connection.recv(1)
            connections.append(connection)
        yield connections


def connect(url: str, receive_bytes: int = 0) -> socket.socket:
    """A connection to a server on this machine."""
    host, _, port = url.removeprefix("http://").partition(":")
    if host != "127.0.0.1":
        raise ValueError(f"{url} is not on loopback")
    connection = socket.socket()
    connection.settimeout(_LONGEST_SECONDS)
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect((host, int(port)))
    return connection


def ask_health(url: str, times: int, timeout_seconds: float, for_seconds: float = 0.0) -> float:
    """Ask for /health so many times and so long, each on a connection of its own; the longest answer in seconds."""
    longest, asked = 0.0, 0
    end = time.monotonic() + for_seconds
    while asked < times or time.monotonic() < end:
        started = time.perf_counter()
        requests.get(f"{url}/health", timeout=timeout_seconds).raise_for_status()
        longest = max(longest, time.perf_counter() - started)
        asked += 1
    return longest


def send(url: str, request: bytes) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with connect(url) as connection:
        # A refusal may come before the last byte is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)
