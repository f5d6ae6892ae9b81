"""Clients that drip their requests into a real server."""

from __future__ import annotations

import itertools
import select
import socket

import pytest
import requests

DRIP_SECONDS = 0.02
LONGEST_SECONDS = 30
PLACES = 28  # of the server's 32 threads; the others are kept from predictions


def drip(connections, parts):
    """Send a part of each connection's request every few milliseconds; returns when the first one is answered."""
    for part in itertools.islice(parts, int(LONGEST_SECONDS / DRIP_SECONDS)):
        readable, _, _ = select.select(connections, [], [], DRIP_SECONDS)
        if readable:
            return
        for connection in connections:
            connection.sendall(part)
    pytest.fail("no answer")


@pytest.mark.parametrize(
    ("head", "part"), [(b"Content-Length: 60000", b" "), (b"Transfer-Encoding: chunked", b"1\r\n \r\n")]
)
@pytest.mark.parametrize("path", ["/predict", "/setup"])
def test_dripping_bodies_give_their_threads_back(tiny_server, path, head, part):
    address = ("127.0.0.1", int(tiny_server.url.rpartition(":")[2]))
    connections = [socket.create_connection(address, timeout=LONGEST_SECONDS) for _ in range(PLACES)]
    try:
        for connection in connections:
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: here\r\n".encode() + head + b"\r\n\r\n")
        drip(connections, itertools.repeat(part))
        answers = [read_to_end(connection) for connection in connections]
    finally:
        for connection in connections:
            connection.close()
    assert {answer.split()[1] for answer in answers} == {b"408"}
    assert all(b"M2N2_BODY_TIMEOUT_SECONDS" in answer for answer in answers)
    assert requests.get(f"{tiny_server.url}/health", timeout=LONGEST_SECONDS).status_code == 200
    assert tiny_server.read_metric("m2n2_queue_admitted") == 0


def read_to_end(connection):
    """Everything until the server closes the connection."""
    with connection.makefile("rb") as file:
        return file.read()
