"""A body that drips in is given up in time, and costs no thread until it is there."""

from __future__ import annotations

import json
import socket

import pytest

PATHS = ["/predict", "/setup"]


def read_answer(connection):
    """Status and JSON; the connection is closed behind them."""
    with connection.makefile("rb") as file:
        head, _, body = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1000\r\n\r\n{",
        b"Content-Length: 1000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_a_body_that_does_not_end_in_time_is_answered_408(connect, path, body):
    connection = connect({"M2N2_BODY_TIMEOUT_SECONDS": "0.05"})
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: here\r\n".encode() + body)
    status, answer = read_answer(connection)
    assert status == 408
    assert answer["error"]["type"] == "RequestTimeout"
    assert answer["error"]["message"] == "the body takes too long to arrive: raise M2N2_BODY_TIMEOUT_SECONDS"


def test_a_body_in_parts_is_taken_while_there_is_time(connect):
    connection = connect()
    connection.sendall(b"POST /setup HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
    connection.sendall(b"{")
    connection.sendall(b"}")
    assert read_answer(connection) == (200, {"model_version": "disc-1"})


def test_a_client_that_hangs_up_is_not_called_slow(connect):
    connection = connect()
    connection.sendall(b"POST /setup HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{")
    connection.shutdown(socket.SHUT_WR)
    status, answer = read_answer(connection)
    assert (status, answer["error"]["type"]) == (400, "ClientDisconnected")
