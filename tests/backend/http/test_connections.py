"""Clients that are slow, silent or malformed are given up in time, and cost the others nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import threading

import pytest
from gunicorn.config import Config
from gunicorn.errors import ConfigError

from backend.http.worker import DrainingWorker

LONGEST_SECONDS = 60
HEALTH = b"GET /health HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
MEBIBYTE = 2**20


def post(path, *lines):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: here", *lines, "", ""]).encode()


def read_answers(connection):
    """Status and body of each until the connection is closed."""
    with connection.makefile("rb") as file:
        while line := file.readline():
            headers = dict(iter(lambda: file.readline().decode().strip().partition(": ")[::2], ("", "")))
            yield int(line.split()[1]), file.read(int(headers.get("Content-Length", 0)))


def read_one(connection):
    """The only answer; then the connection is closed."""
    ((status, body),) = read_answers(connection)
    return status, body


def is_healthy(worker):
    with worker.connect() as connection:
        connection.sendall(HEALTH)
        return read_one(connection)[0] == 200


@contextlib.contextmanager
def hold(worker, count, sent):
    """So many connections that sent these bytes."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(worker.connect()) for _ in range(count)]
        for connection in connections:
            connection.sendall(sent)
        yield connections


def test_a_client_that_says_nothing_is_left(connect):
    connection = connect({"M2N2_HEAD_TIMEOUT_SECONDS": "0.05"})
    assert list(read_answers(connection)) == []


def test_a_head_that_does_not_end_in_time_is_answered_408(connect):
    connection = connect({"M2N2_HEAD_TIMEOUT_SECONDS": "0.05"})
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: he")
    assert read_one(connection)[0] == 408


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.1\r\n" + 5000 * b"X-Long: 1\r\n", 431),
        (b"GET /" + 5000 * b"x" + b" HTTP/1.1\r\n\r\n", 414),
        (b"hello\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\n\n", 400),
        (post("/setup", "Content-Length: -1"), 400),
        (post("/setup", "Content-Length: 2", "Transfer-Encoding: chunked"), 400),
        (post("/setup", "Transfer-Encoding: gzip"), 400),
    ],
)
def test_a_wrong_head_is_refused_at_once(connect, caplog, head, status):
    connection = connect()
    connection.sendall(head)
    assert read_one(connection)[0] == status
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", post("/setup", "Content-Length: 9") + b"{", post("/none", "Content-Length: 9"), HEALTH]
)
def test_clients_that_stay_cost_no_thread(start_worker, sent):
    worker = start_worker({"M2N2_SERVER_THREADS": "2"})
    with hold(worker, 40, sent):
        for _ in range(3):
            assert is_healthy(worker)


def test_one_connection_too_many_ends_the_oldest_that_asks_for_nothing(start_worker):
    worker = start_worker({"M2N2_MAX_CONNECTIONS": "16"})
    with hold(worker, 1, post("/setup", "Content-Length: 2", "Connection: close") + b"{") as (asking,):
        with hold(worker, 30, b"") as silent:
            assert is_healthy(worker)
            assert list(read_answers(silent[0])) == []
        asking.sendall(b"}")
        assert read_one(asking)[0] == 200


def test_an_answer_that_is_not_taken_costs_no_thread(start_worker):
    worker = start_worker({"M2N2_SERVER_THREADS": "2", "M2N2_SEND_TIMEOUT_SECONDS": "90"})
    asked = 400 * b"GET /guide/points.jpg HTTP/1.1\r\nHost: here\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(worker.address)
            connection.sendall(asked)
        for _ in range(3):
            assert is_healthy(worker)


def test_an_answer_that_is_not_taken_in_time_is_given_up(start_worker):
    worker = start_worker({"M2N2_SEND_TIMEOUT_SECONDS": "0.05"})
    with worker.connect() as connection:
        connection.sendall(400 * b"GET /guide/points.jpg HTTP/1.1\r\nHost: here\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            ask_for_ever(connection)


def ask_for_ever(connection):
    """And read nothing."""
    while True:
        connection.sendall(b"GET /guide/points.jpg HTTP/1.1\r\nHost: here\r\n\r\n")


def test_a_long_answer_arrives_whole(start_worker):
    worker = start_worker()
    with hold(worker, 1, 100 * b"GET /guide/points.jpg HTTP/1.1\r\nHost: here\r\n\r\n" + HEALTH) as (connection,):
        *pictures, (status, _) = read_answers(connection)
    assert status == 200
    assert len(pictures) == 100
    assert len(set(pictures)) == 1


def test_requests_on_one_connection_are_answered_in_turn(connect):
    connection = connect()
    body = b'{"schema": null}'
    connection.sendall(post("/setup", f"Content-Length: {len(body)}") + body + post("/none") + HEALTH)
    assert [status for status, _ in read_answers(connection)] == [200, 404, 200]


@pytest.mark.parametrize("extension", [b"", b";name=value", b' ; a="b"'])
def test_a_body_in_chunks_is_taken(connect, extension):
    connection = connect()
    chunks = b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in (b'{"schema', b'": null', b"}"))
    connection.sendall(post("/setup", "Transfer-Encoding: chunked") + chunks)
    connection.sendall(b"0\r\nX-Sum: 1\r\n\r\n" + HEALTH)
    assert [status for status, _ in read_answers(connection)] == [200, 200]


@pytest.mark.parametrize("path", ["/predict", "/setup", "/cvat/"])
@pytest.mark.parametrize(
    "chunks",
    [
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloJUNK\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0;\x00\r\n\r\n",
        b"5;" + 20_000 * b"x" + b"\r\nhello\r\n0\r\n\r\n",
        b"5;" + 20_000 * b"x",
        b"2\r\n{}\r\n0\r\nTrailer\r\n\r\n",
        b"2\r\n{}\r\n0\r\n" + 20_000 * b"x",
        17_000 * b"1\r\n \r\n",
    ],
)
def test_malformed_chunks_are_answered_400(connect, caplog, path, chunks):
    connection = connect()
    connection.sendall(post(path, "Transfer-Encoding: chunked") + chunks)
    status, body = read_one(connection)
    assert status == 400
    assert json.loads(body)["error"]["type"] in ("BadRequest", "ClientDisconnected")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("framing", ["Content-Length: 2000000", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_is_refused_before_it_is_there(connect, framing):
    connection = connect({"M2N2_MAX_SETUP_MIB": "1"})
    connection.sendall(post("/setup", framing) + b"1E8480\r\n" + bytes(MEBIBYTE))
    status, body = read_one(connection)
    assert status == 413
    assert "M2N2_MAX_SETUP_MIB" in body.decode()


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/webhook", 204), ("/health", 405)])
def test_a_body_that_nobody_uses_is_not_waited_for(connect, path, status):
    connection = connect()
    connection.sendall(post(path, "Content-Length: 1000000000") + b"{")
    assert read_one(connection)[0] == status


def test_a_frame_at_the_port_of_cvat_is_waited_for(start_worker):
    listener = socket.create_server(("127.0.0.1", 0))
    worker = start_worker({"M2N2_CVAT_PORT": str(listener.getsockname()[1])}, listener=listener)
    body = b'{"image": ""}'
    with hold(worker, 1, post("/", f"Content-Length: {len(body)}", "Connection: close")) as (connection,):
        connection.sendall(body)
        status, answer = read_one(connection)
    assert (status, json.loads(answer)["error"]["type"]) == (400, "InvalidImage")


def test_a_body_of_somebody_unknown_is_not_waited_for(connect):
    connection = connect({"M2N2_BASIC_AUTH_USER": "studio", "M2N2_BASIC_AUTH_PASSWORD": "word"})
    connection.sendall(post("/setup", "Content-Length: 1000", "Authorization: Basic c3R1ZGlvOm90aGVy") + b"{")
    assert read_one(connection)[0] == 401


def test_a_body_of_somebody_known_is_taken(connect):
    connection = connect({"M2N2_BASIC_AUTH_USER": "studio", "M2N2_BASIC_AUTH_PASSWORD": "word"})
    connection.sendall(
        post("/setup", "Content-Length: 2", "Authorization: Basic c3R1ZGlvOndvcmQ=", "Connection: close")
    )
    connection.sendall(b"{}")
    assert read_one(connection)[0] == 200


def test_a_client_that_asks_before_it_sends_a_body_is_told_to(connect):
    connection = connect()
    connection.sendall(post("/setup", "Content-Length: 2", "Expect: 100-continue", "Connection: close"))
    with connection.makefile("rb") as file:
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        connection.sendall(b"{}")
        assert b"HTTP/1.1 200" in file.read()


def test_a_body_too_many_takes_the_room_of_the_one_that_is_waited_for_longest(start_worker):
    worker = start_worker({"M2N2_HELD_BODIES_MIB": "1", "M2N2_MAX_BODY_MIB": "1"})
    large = post("/setup", "Content-Length: 1000000", "Connection: close")
    with hold(worker, 1, large) as (first,), hold(worker, 1, large) as (second,):
        status, body = read_one(first)
        assert (status, json.loads(body)["error"]["type"]) == (503, "Busy")
        assert "M2N2_HELD_BODIES_MIB" in body.decode()
        second.sendall(b'{"x": "' + b"x" * (1_000_000 - 9) + b'"}')
        assert read_one(second)[0] == 200


def test_a_body_is_refused_where_those_in_work_take_all_the_room(start_worker, segmenter, recorded, make_png):
    go, asked = threading.Event(), threading.Event()
    segmenter.before_prepare = lambda _: asked.set() or go.wait(LONGEST_SECONDS)
    worker = start_worker({"M2N2_HELD_BODIES_MIB": "1", "M2N2_MAX_BODY_MIB": "1"})
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    click = json.dumps(body).encode().ljust(1_000_000)
    with hold(worker, 1, post("/predict", f"Content-Length: {len(click)}", "Connection: close") + click) as (first,):
        assert asked.wait(LONGEST_SECONDS)
        with hold(worker, 1, post("/setup", "Content-Length: 1000000")) as (second,):
            assert read_one(second)[0] == 503
        go.set()
        assert read_one(first)[0] == 200


def test_tls_is_left_to_a_proxy():
    config = Config()
    config.set("certfile", "server.pem")
    with pytest.raises(ConfigError, match="proxy"):
        DrainingWorker.check_config(config, logging.getLogger())
