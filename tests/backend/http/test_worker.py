"""SIGTERM loses no click: those that the system has accepted are answered, later ones refused."""

from __future__ import annotations

import concurrent.futures
import functools
import selectors
import socket
import threading

import pytest
import requests
from gunicorn.config import Config

from backend.http.worker import DrainingWorker
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


class IdleWorker(DrainingWorker):
    """Answers none of the connections that it has taken on."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.taken = []

    def enqueue_req(self, connection):
        self.taken.append(connection)


@pytest.fixture
def worker(listener):
    """A worker that was told to end."""
    worker = IdleWorker(1, 1, [listener], None, 1, Config(), None)
    worker.alive = False
    yield worker
    for connection in worker.taken:
        connection.close()
    worker.tmp.close()


def test_connections_that_the_system_has_accepted_are_taken_and_further_ones_refused(worker, listener):
    address = listener.getsockname()
    clients = [socket.create_connection(address) for _ in range(3)]
    worker.set_accept_enabled(False)
    assert [one.client for one in worker.taken] == [client.getsockname() for client in clients]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for client in clients:
        client.close()


def test_nothing_gets_into_the_queue_between_the_last_look_and_its_end(worker, listener):
    worker.set_accept_enabled(False)
    assert isinstance(listener.late, TimeoutError), "it would be cut off"


def test_a_worker_that_was_told_to_end_before_it_began_takes_them_too(worker, listener):
    """It begins, and ends at once."""
    with selectors.DefaultSelector() as worker.poller, socket.create_connection(listener.getsockname()) as client:
        worker.set_accept_enabled(True)
        assert worker.taken == []
        for _ in range(2):
            worker.set_accept_enabled(False)
            assert [one.client for one in worker.taken] == [client.getsockname()]


def test_a_worker_that_goes_on_leaves_its_socket_open(worker, listener):
    worker.alive = True
    worker.set_accept_enabled(False)
    with socket.create_connection(listener.getsockname()):
        assert worker.taken == []


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
