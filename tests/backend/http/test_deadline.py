"""A click has one deadline, from its first byte: nothing is begun for an answer that nobody waits for any more."""

from __future__ import annotations

import base64
import json
import socket
import time

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from backend.app import create_app
from backend.http.connection import Connection
from backend.http.request import current_record, note_request
from backend.http.worker import DrainingWorker
from backend.settings import load_settings

LONG_AGO_SECONDS = 1000.0
DEADLINE_SECONDS = 10


@pytest.fixture
def body(recorded, make_png):
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    return body


def test_a_click_that_waited_too_long_for_a_thread_is_refused_and_nothing_is_begun(client, body, segmenter):
    note_request(time.monotonic() - LONG_AGO_SECONDS)
    answer = client.post("/predict", json=body)
    assert (answer.status_code, answer.json["error"]["type"]) == (503, "DeadlineExceeded")
    assert answer.headers["Retry-After"]
    assert (segmenter.prepared, segmenter.asked) == ([], [])
    assert client.post("/predict", json=body).status_code == 200, "the next request of the same thread has its own time"


def test_the_time_is_a_setting(make_client, body):
    client = make_client({"M2N2_ANSWER_TIMEOUT_SECONDS": str(2 * LONG_AGO_SECONDS)})
    note_request(time.monotonic() - LONG_AGO_SECONDS)
    assert client.post("/predict", json=body).status_code == 200


def test_a_click_whose_time_ends_while_its_image_is_prepared_is_not_computed(make_client, body, segmenter):
    client = make_client({"M2N2_ANSWER_TIMEOUT_SECONDS": "1"})

    def take_long(_picture):
        deadline = current_record().deadline
        while deadline.remaining_seconds:
            pass

    segmenter.before_prepare = take_long
    answer = client.post("/predict", json=body)
    assert (answer.status_code, answer.json["error"]["type"]) == (503, "DeadlineExceeded")
    assert segmenter.asked == []


@pytest.fixture
def worker(segmenter):
    config = Config()
    worker = DrainingWorker(1, 1, [], None, 1, config, Logger(config))
    worker.wsgi = create_app(load_settings({}), segmenter)
    yield worker
    worker.tmp.close()


@pytest.fixture
def connection(body):
    """A click that has arrived, and the socket of its client."""
    here, there = socket.socketpair()
    with here, there:
        data = json.dumps(body).encode()
        taken = Connection(Config(), here, ("127.0.0.1", 1), ("127.0.0.1", 2))
        there.settimeout(DEADLINE_SECONDS)
        there.sendall(b"POST /predict HTTP/1.1\r\nHost: here\r\nConnection: close\r\n")
        there.sendall(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        yield taken, there


def test_the_server_notes_when_the_first_byte_of_a_request_arrives(connection):
    taken, _ = connection
    before = time.monotonic()
    taken.receive()
    assert before <= taken.arrival <= time.monotonic()


def test_the_server_serves_a_request_with_the_time_of_its_arrival(worker, connection, segmenter):
    taken, client = connection
    taken.receive()
    assert taken.parse_head()
    taken.arrival = time.monotonic() - LONG_AGO_SECONDS
    assert worker.handle(taken) is False
    assert client.recv(12) == b"HTTP/1.1 503"
    assert segmenter.asked == []
