"""SIGTERM loses no click: those that the system has accepted are answered, later ones refused."""

from __future__ import annotations

import concurrent.futures
import functools
import socket
import threading

import pytest
import requests

from backend.tools.load import draw_body, draw_uris
from backend.tools.local_server import LocalServer

ANNOTATORS = 6
SIZE = (60, 80)
DEADLINE_SECONDS = 60


class Listener(socket.socket):
    """Tries to connect to itself before it is closed, after everybody's last look into its queue."""

    late: Exception | None = None

    def close(self):
        if self.fileno() >= 0:
            try:
                socket.create_connection(self.getsockname(), timeout=0.2).close()
            except OSError as error:
                self.late = error
        super().close()


@pytest.fixture
def listener():
    with Listener() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        yield server


def ask_health(connection):
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")


def read_status(connection):
    with connection, connection.makefile("rb") as file:
        return file.read().split()[1]


def test_connections_that_the_system_has_accepted_are_answered_and_further_ones_refused(start_worker, listener):
    """A worker that was told to end before it began takes them too."""
    address = listener.getsockname()
    clients = [socket.create_connection(address, DEADLINE_SECONDS) for _ in range(3)]
    for client in clients:
        ask_health(client)
    start_worker(listener=listener, is_alive=False)
    assert [read_status(client) for client in clients] == [b"200"] * 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_nothing_gets_into_the_queue_between_the_last_look_and_its_end(start_worker, listener):
    start_worker(listener=listener).end()
    assert isinstance(listener.late, TimeoutError), "it would be cut off"


def test_a_client_that_connected_before_the_end_may_ask_after_it(start_worker, listener, monkeypatch):
    monkeypatch.setattr("backend.http.worker.LAST_WORD_SECONDS", DEADLINE_SECONDS)
    with socket.create_connection(listener.getsockname(), DEADLINE_SECONDS) as client:
        start_worker(listener=listener, is_alive=False)
        while listener.fileno() >= 0:
            pass
        ask_health(client)
        assert read_status(client) == b"200"


def test_no_click_that_was_sent_before_sigterm_is_lost(tmp_path):
    """Annotators click on and on, each click on a connection of its own as Label Studio's; SIGTERM comes between."""
    image = draw_uris(1, SIZE)[0]
    answered = threading.Semaphore(0)
    environ = {"M2N2_BACKBONE": "tiny", "M2N2_SERVER_THREADS": "8"}
    with LocalServer(environ, tmp_path / "log") as server:

        def ask(annotator):
            """None: the connection was refused. One that is cut off would be a lost click."""
            body = draw_body(annotator, clicks=1, size=SIZE, image=image)
            try:
                response = requests.post(f"{server.url}/predict", json=body, timeout=DEADLINE_SECONDS)
            except requests.ConnectionError as error:
                if "Connection refused" not in str(error):
                    raise
                return None
            answered.release()
            return response.status_code, response.json()["results"][0]["result"][0]["value"]["rle"]

        def click_until_refused(annotator):
            return list(iter(functools.partial(ask, annotator), None))

        alone = [ask(annotator) for annotator in range(ANNOTATORS)]
        with concurrent.futures.ThreadPoolExecutor(ANNOTATORS) as pool:
            futures = [pool.submit(click_until_refused, annotator) for annotator in range(ANNOTATORS)]
            for _ in range(4 * ANNOTATORS):
                assert answered.acquire(timeout=DEADLINE_SECONDS)
            server.terminate()
            answers = [future.result(DEADLINE_SECONDS) for future in futures]
        assert server.wait() == 0
    for expected, given in zip(alone, answers, strict=True):
        assert given
        assert all(answer == expected for answer in given)
    assert server.read_log().count("POST '/predict' 200") == ANNOTATORS + sum(map(len, answers))
