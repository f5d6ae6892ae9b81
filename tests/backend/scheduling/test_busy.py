"""What is answered while clicks are under way: health checks, clicks too many, and clicks overtaken by newer ones."""

from __future__ import annotations

import base64
import concurrent.futures
import threading
import time

import pytest

DEADLINE_SECONDS = 10


class Gate:
    """Lets every computation of a segmenter wait until the test opens it."""

    def __init__(self, segmenter):
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        segmenter.before_segment = self.wait

    def wait(self, _picture):
        self.entered.release()
        assert self.opened.wait(DEADLINE_SECONDS)


@pytest.fixture
def gate(segmenter):
    return Gate(segmenter)


@pytest.fixture
def app(make_client, gate):
    # Three places.
    return make_client({"M2N2_SERVER_THREADS": "4", "M2N2_COMPUTING_CLICKS": "4"}).application


@pytest.fixture
def pool(gate):
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        yield executor
        gate.opened.set()


@pytest.fixture
def post(app, recorded, make_png):
    reference = "data:image/png;base64," + base64.b64encode(make_png()).decode()

    def post(points=1, task=1):
        body = recorded(f"predict_interactive_{points}_points")
        body["tasks"][0] |= {"id": task, "data": {"image": reference}}
        return app.test_client().post("/predict", json=body)

    return post


def read_metric(app, name):
    lines = app.test_client().get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_with_every_place_taken_health_and_setup_answer_and_one_click_more_does_not(app, gate, pool, post):
    clicks = [pool.submit(post, task=task) for task in range(3)]
    for _ in clicks:
        assert gate.entered.acquire(timeout=DEADLINE_SECONDS)
    refused = post(task=9)
    assert (refused.status_code, refused.json["error"]["type"]) == (503, "Busy")
    assert refused.headers["Retry-After"]
    client = app.test_client()
    assert client.post("/cvat/", json={}).json["error"]["type"] == "Busy"
    assert client.get("/cvat/api/functions").status_code == 200
    assert client.get("/health").status_code == 200
    assert client.post("/setup", json={}).status_code == 200
    assert read_metric(app, "m2n2_queue_admitted") == 3
    assert read_metric(app, "m2n2_queue_refused_total") == 2

    gate.opened.set()
    assert [click.result(DEADLINE_SECONDS).status_code for click in clicks] == [200] * 3
    assert read_metric(app, "m2n2_queue_admitted") == 0
    assert post(task=9).status_code == 200


def test_a_click_overtaken_by_a_newer_one_of_its_chain_is_empty_and_not_computed(app, gate, pool, post, segmenter):
    first = pool.submit(post, points=1)
    assert gate.entered.acquire(timeout=DEADLINE_SECONDS)
    second = pool.submit(post, points=2)
    wait_for_waiting_click(app)
    third = pool.submit(post, points=3)
    (prediction,) = second.result(DEADLINE_SECONDS).json["results"]
    assert prediction["result"] == []
    gate.opened.set()
    for click in (first, third):
        assert click.result(DEADLINE_SECONDS).json["results"][0]["result"]
    assert [len(clicks) for _, clicks, *_ in segmenter.asked] == [1, 3]
    assert read_metric(app, "m2n2_queue_obsolete_total") == 1
    counted = [read_metric(app, count_name(outcome)) for outcome in ("mask", "overtaken", "empty")]
    assert counted == [2, 1, 0]


def count_name(outcome):
    return f'm2n2_clicks_total{{outcome="{outcome}",platform="label_studio"}}'


def wait_for_waiting_click(app):
    """Until a click waits for its turn."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while read_metric(app, "m2n2_queue_waiting") < 1:
        assert time.monotonic() < deadline
