"""A body that drips in is given up in time, over a real connection on loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from backend.app import create_app
from backend.http.request import limit_reading
from backend.settings import load_settings

PATHS = ["/predict", "/setup"]
LONGEST_SECONDS = 20


class RequestHandler(WSGIRequestHandler):
    """Shows the application its connection, as gunicorn does."""

    def make_environ(self):
        return {**super().make_environ(), "gunicorn.socket": self.connection}

    def log_request(self, *_):
        pass


@pytest.fixture
def connect(segmenter):
    """Connections to a server that gives a body so many seconds."""
    with contextlib.ExitStack() as stack:

        def connect(seconds):
            app = create_app(load_settings({"M2N2_BODY_TIMEOUT_SECONDS": seconds}), segmenter)
            server = stack.enter_context(
                contextlib.closing(make_server("127.0.0.1", 0, app, threaded=True, request_handler=RequestHandler))
            )
            server.close = server.server_close
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return stack.enter_context(socket.create_connection(server.server_address, timeout=LONGEST_SECONDS))

        yield connect


def read_answer(connection):
    """Status and JSON; the connection is closed behind them."""
    with connection.makefile("rb") as file:
        head, _, body = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"Content-Length: 1000\r\n\r\n{", b"Content-Length: 1000\r\n\r\n"])
def test_a_body_that_does_not_end_in_time_is_answered_408(connect, path, body):
    connection = connect("0.05")
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: here\r\n".encode() + body)
    status, answer = read_answer(connection)
    assert status == 408
    assert answer["error"]["type"] == "RequestTimeout"
    assert answer["error"]["message"] == "the body takes too long to arrive: raise M2N2_BODY_TIMEOUT_SECONDS"


def test_a_body_in_parts_is_taken_while_there_is_time(connect):
    connection = connect("90")
    connection.sendall(b"POST /setup HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n")
    connection.sendall(b"{")
    connection.sendall(b"}")
    assert read_answer(connection) == (200, {"model_version": "disc-1"})


def test_a_client_that_hangs_up_is_not_called_slow(connect):
    connection = connect("90")
    connection.sendall(b"POST /setup HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{")
    connection.shutdown(socket.SHUT_WR)
    status, answer = read_answer(connection)
    assert (status, answer["error"]["type"]) == (400, "ClientDisconnected")


def test_a_body_that_came_in_time_leaves_its_connection_alone():
    """The timer may go off while it is being cancelled."""
    timers = []

    class Timer(threading.Timer):
        def __init__(self, seconds, cut):
            super().__init__(seconds, cut)
            timers.append(cut)

    here, there = socket.socketpair()
    with here, there:
        with limit_reading(here, 90, Timer) as has_passed:
            pass
        (cut,) = timers
        cut()
        assert not has_passed.is_set()
        there.sendall(b"next")
        assert here.recv(4) == b"next"
