"""Preparing before the first click: what goes first, what is dropped, and that nobody waits for it."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import logging
import threading
import time
import urllib.parse
import weakref

import numpy as np
import pytest

from backend.app import create_app
from backend.engines.background import LoadedEngine
from backend.errors import ImageRefused
from backend.http.peers import rank_peers
from backend.http.request import RequestRecord
from backend.images.cache import PictureCache, TaskImage
from backend.label_studio.client import LabelStudioError
from backend.scheduling.clicks import ClickQueue, ClickService
from backend.scheduling.preparation import BackgroundPreparation
from backend.settings import load_settings
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import Tier

DEADLINE_SECONDS = 10
KEY = "0123abcd"


class Gate:
    """Announces each preparation of a segmenter by the picture's width, and lets it go on when the test does."""

    def __init__(self, segmenter):
        self.segmenter = segmenter
        self.announced = []
        self.allowed = threading.Semaphore(0)
        self.changed = threading.Condition()
        self.errors = {}
        segmenter.before_prepare = self.wait

    def wait(self, picture):
        width = picture.size[1]
        with self.changed:
            self.announced.append(width)
            self.changed.notify_all()
        assert self.allowed.acquire(timeout=DEADLINE_SECONDS)
        if width in self.errors:
            raise self.errors[width]

    def wait_for(self, *widths):
        """Until these pictures, and no others, have been begun in this order."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.announced) >= len(widths), DEADLINE_SECONDS), self.announced
            assert self.announced == list(widths)


@pytest.fixture
def gate(segmenter):
    return Gate(segmenter)


class Shelf:
    """Images of any width without a source, each fetched when the test lets it."""

    def __init__(self):
        self.closed = {}
        self.asked = threading.Event()
        self.errors = {}
        self.decoded = []
        """A weak reference to each picture's pixels."""
        self.pictures = PictureCache(0, 0, self.fetch, self.decode)

    def fetch(self, image, _deadline):
        self.asked.set()
        if image.reference in self.closed:
            assert self.closed[image.reference].wait(DEADLINE_SECONDS)
        if image.reference in self.errors:
            raise self.errors[image.reference]
        return image.reference.encode()

    def decode(self, data, _image, _deadline):
        pixels = np.zeros((4, int(data), 3), np.uint8)
        self.decoded.append(weakref.ref(pixels))
        return pixels


class Background:
    """The queue of images without an application around it; images go by their widths in pixels."""

    def __init__(self, gate, places, clock):
        self.queue = ClickQueue(places=9, computing=4)
        self.shelf = Shelf()
        clicks = ClickService(LoadedEngine(gate.segmenter), self.shelf.pictures, self.queue)
        self.preparation = BackgroundPreparation(places, clicks, clock)
        self.other_threads = set(threading.enumerate())

    def add(self, *widths, is_opened=True, look_ahead=None):
        self.preparation.add(name(*widths), is_opened=is_opened, look_ahead=look_ahead)

    def is_working(self):
        """Whether it has a thread that prepares images."""
        threads = set(threading.enumerate()) - self.other_threads
        return any(thread.name == "prepare-images" for thread in threads)

    def wait_for(self, **expected):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(getattr(self.preparation.statistics, key) != value for key, value in expected.items()):
            assert time.monotonic() < deadline, self.preparation.statistics


def name(*widths):
    return [TaskImage(str(width), task_id=width) for width in widths]


@pytest.fixture
def make_background(gate):
    yield lambda places=8, clock=time.monotonic: Background(gate, places, clock)
    gate.allowed.release(1000)


@pytest.fixture
def busy(make_background, gate):
    """A background that works on image 1 until the test lets the gate go."""

    def make(places=8):
        background = make_background(places)
        background.add(1)
        gate.wait_for(1)
        return background

    return make


def test_the_task_opened_last_goes_first_and_those_that_nobody_looks_at_go_last(busy, gate):
    background = busy()
    background.add(2)
    background.add(10, 11, is_opened=False)
    background.add(3, 4)
    background.add(12, is_opened=False)
    gate.allowed.release(7)
    gate.wait_for(1, 3, 4, 2, 12, 10, 11)
    background.wait_for(waiting=0, found={Tier.NETWORK: 7}, dropped=0, failures=0)


def test_an_image_in_line_is_not_taken_twice_and_takes_the_newer_place(busy, gate):
    background = busy()
    background.add(2)
    background.add(3)
    background.add(2)
    background.add(3, is_opened=False)
    assert background.preparation.statistics.waiting == 2
    gate.allowed.release(3)
    gate.wait_for(1, 2, 3)
    background.wait_for(waiting=0, found={Tier.NETWORK: 3})


def test_the_line_is_bounded_and_the_oldest_go(busy, gate):
    background = busy(places=2)
    background.add(2)
    background.add(3)
    background.add(4)
    background.add(*range(10, 30), is_opened=False)
    assert background.preparation.statistics.waiting == 2
    gate.allowed.release(3)
    gate.wait_for(1, 4, 3)
    # Image 2, and the two that were taken of the many.
    background.wait_for(waiting=0, dropped=3)


def test_of_many_images_at_once_the_first_are_taken(busy, gate):
    background = busy(places=2)
    background.add(*range(10, 30), is_opened=False)
    gate.allowed.release(3)
    gate.wait_for(1, 10, 11)
    background.wait_for(waiting=0, dropped=0)


def test_a_task_opened_while_an_image_is_fetched_goes_before_it(make_background, gate):
    background = make_background()
    background.shelf.closed["1"] = threading.Event()
    background.add(1)
    assert background.shelf.asked.wait(DEADLINE_SECONDS)
    background.add(2)
    background.shelf.closed["1"].set()
    gate.allowed.release(2)
    gate.wait_for(2, 1)


def test_clicks_go_first(make_background, gate):
    background = make_background()
    with background.queue.join(None, RequestRecord()):
        background.add(1)
        assert background.shelf.asked.wait(DEADLINE_SECONDS)
        background.add(2)
        assert gate.announced == []
    gate.allowed.release(2)
    gate.wait_for(2, 1)


def test_where_there_is_a_click_at_every_moment_images_have_their_share(make_background, gate):
    now = [0.0]
    background = make_background(clock=lambda: now[0])

    def let_time_pass():
        """A click more begins and ends, and somebody looks at the clock."""
        now[0] += 1000
        with background.queue.join(None, RequestRecord()):
            pass

    with background.queue.join(None, RequestRecord()):
        background.add(1)
        assert background.shelf.asked.wait(DEADLINE_SECONDS)
        background.add(2)
        assert gate.announced == []
        for expected in ([2], [2, 1]):
            deadline = time.monotonic() + DEADLINE_SECONDS
            while len(gate.announced) < len(expected):
                let_time_pass()
                assert time.monotonic() < deadline
            gate.allowed.release()
            background.wait_for(found={Tier.NETWORK: len(expected)})
        assert gate.announced == [2, 1]


def test_no_picture_is_held_while_clicks_go_first(make_background, gate):
    background = make_background()
    with background.queue.join(None, RequestRecord()):
        background.add(1)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not background.shelf.decoded or background.shelf.decoded[0]() is not None:
            assert time.monotonic() < deadline
    gate.allowed.release(1)
    gate.wait_for(1)


def test_a_failure_is_logged_and_counted_and_the_next_image_is_prepared(busy, gate, caplog):
    background = busy()
    background.shelf.errors["3"] = ImageRefused("the host is not open")
    gate.errors = {2: OutOfMemory("no room"), 1: RuntimeError("a defect")}
    for width in (5, 3, 2):
        background.add(width)
    with caplog.at_level(logging.INFO):
        gate.allowed.release(3)
        gate.wait_for(1, 2, 5)
        background.wait_for(waiting=0, failures=3, found={Tier.NETWORK: 1})
    lines = [(record.levelname, record.message) for record in caplog.records]
    assert lines == [
        ("ERROR", "preparing in the background failed"),
        ("WARNING", "preparing in the background failed: OutOfMemory: no room"),
        ("WARNING", "preparing in the background failed: ImageRefused: image 3: the host is not open"),
    ]
    assert "a defect" in caplog.text
    assert background.queue.statistics.preparing == 0


def test_what_comes_next_is_asked_for_after_the_last_image_of_the_task_and_goes_last(busy, gate):
    background = busy()
    asked = []

    def look_ahead():
        asked.append(list(gate.announced))
        background.add(4)
        return name(10)

    background.add(2, 3, look_ahead=look_ahead)
    gate.allowed.release(5)
    gate.wait_for(1, 2, 3, 4, 10)
    assert asked == [[1, 2, 3]]


def test_a_question_for_what_comes_next_that_fails_is_counted(busy, gate):
    background = busy()

    def look_ahead():
        raise LabelStudioError("no such project", 404)

    background.add(2, look_ahead=look_ahead)
    background.add(3, is_opened=False)
    gate.allowed.release(3)
    gate.wait_for(1, 2, 3)
    background.wait_for(waiting=0, failures=1, found={Tier.NETWORK: 3})


def test_closing_waits_for_the_image_under_way_and_begins_no_other(busy, gate):
    background = busy()
    background.add(2)
    closing = threading.Thread(target=background.preparation.close)
    closing.start()
    closing.join(0)
    assert closing.is_alive()
    gate.allowed.release(2)
    closing.join(DEADLINE_SECONDS)
    assert not closing.is_alive()
    assert not background.is_working()
    assert gate.announced == [1]


def test_closing_wakes_a_background_that_has_nothing_to_do(busy, gate):
    background = busy()
    gate.allowed.release()
    background.wait_for(waiting=0, found={Tier.NETWORK: 1})
    background.preparation.close()
    assert not background.is_working()


def test_without_places_nothing_is_prepared(make_background):
    background = make_background(places=0)
    background.add(1)
    assert not background.is_working()


class Server:
    """An application whose engine stops before each preparation, and what Label Studio asks of it."""

    def __init__(self, gate, data_uri, recorded, environ):
        self.app = create_app(load_settings(environ), LoadedEngine(gate.segmenter))
        self.data_uri = data_uri
        self.recorded = recorded

    def open(self, *widths):
        """The batch of an opened task, or of several."""
        batch = self.recorded("predict_batch_2_tasks")
        task = batch["tasks"][0]
        batch["tasks"] = [{**task, "id": width, "data": {"image": self.data_uri(width)}} for width in widths]
        return self.app.test_client().post("/predict", json=batch)

    def click(self, width):
        body = self.recorded("predict_interactive_1_points")
        body["tasks"][0] |= {"id": width, "data": {"image": self.data_uri(width)}}
        response = self.app.test_client().post("/predict", json=body)
        assert response.status_code == 200, response.json
        (prediction,) = response.json["results"]
        return prediction["result"]

    def metric(self, name):
        lines = self.app.test_client().get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def wait_for(self, name, value):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.metric(name) != value:
            assert time.monotonic() < deadline, (name, self.metric(name))


@pytest.fixture
def data_uri(make_png):
    """Reference of an image of this width in pixels."""
    return lambda width: "data:image/png;base64," + base64.b64encode(make_png(width, 480)).decode()


@pytest.fixture
def make_application(gate, data_uri, recorded):
    yield lambda **environ: Server(gate, data_uri, recorded, environ)
    gate.allowed.release(1000)


@pytest.fixture
def pool(gate):
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        yield executor
        gate.allowed.release(1000)


def test_a_batch_is_answered_at_once_while_the_engine_is_busy(make_application, gate):
    server = make_application()
    for _ in range(2):
        assert server.open(100).json == {"results": [[]]}
        gate.wait_for(100)
    assert server.open(100, 200).json == {"results": [[], []]}


def test_the_first_click_on_an_opened_task_finds_it_as_ready_as_a_second_one(make_application, gate):
    server = make_application()
    server.open(100)
    gate.allowed.release()
    server.wait_for('m2n2_preparation_found_total{level="network"}', 1)
    assert server.click(100)
    assert server.click(100)
    assert gate.announced == [100]
    assert gate.segmenter.found[1:] == [Tier.DEVICE, Tier.DEVICE]


def test_a_click_on_the_image_in_preparation_waits_for_it_and_does_not_prepare_it_again(make_application, gate, pool):
    server = make_application()
    server.open(100)
    gate.wait_for(100)
    click = pool.submit(server.click, 100)
    server.wait_for("m2n2_queue_unprepared", 1)
    gate.allowed.release()
    assert click.result(DEADLINE_SECONDS)
    assert gate.announced == [100]
    assert gate.segmenter.found == [Tier.NETWORK, Tier.DEVICE]


def test_first_clicks_on_many_images_do_not_hold_up_a_click_on_one_that_is_ready(make_application, gate, pool):
    server = make_application(M2N2_COMPUTING_CLICKS="1")
    gate.allowed.release()
    assert server.click(100)
    first = [pool.submit(server.click, width) for width in (200, 300, 400)]
    server.wait_for("m2n2_queue_unprepared", 2)
    assert server.click(100)
    assert not any(click.done() for click in first)
    gate.allowed.release(3)
    assert all(click.result(DEADLINE_SECONDS) for click in first)
    assert sorted(gate.announced) == [100, 200, 300, 400]


def test_a_click_goes_before_what_waits_in_the_background(make_application, gate, pool):
    server = make_application()
    server.open(100)
    gate.wait_for(100)
    server.open(200)
    click = pool.submit(server.click, 300)
    server.wait_for("m2n2_queue_unprepared", 1)
    gate.allowed.release(3)
    assert click.result(DEADLINE_SECONDS)
    gate.wait_for(100, 300, 200)


@pytest.mark.parametrize("broken", ["not a configuration", ""])
def test_a_batch_that_names_no_image_is_answered_as_any_other(client, recorded, broken):
    body = {**recorded("predict_batch_2_tasks"), "label_config": broken}
    assert client.post("/predict", json=body).json == {"results": [[], []]}


def find_asked(server):
    """The paths that a Label Studio was asked for, but that of the token's check."""
    return [path for _, path, *_ in server.seen if path != "/api/current-user/whoami"]


def tasks_path(after, project=1, count=1):
    """The path by which the unfinished tasks after one are asked for."""
    filters = [
        {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after},
        {"filter": "filter:tasks:completed_at", "operator": "empty", "type": "Datetime", "value": True},
    ]
    query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
    return "/api/tasks?" + urllib.parse.urlencode(
        {"project": project, "page_size": count, "query": json.dumps(query), "resolve_uri": "false", "review": "true"}
    )


@pytest.fixture
def environ(server):
    return {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": KEY}


def test_the_next_unfinished_task_of_an_opened_one_is_prepared_too(make_application, server, environ, gate, make_png):
    server.answer("/data/upload/1/300.png", make_png(300, 48))
    task = {"id": 103, "data": {"image": "/data/upload/1/300.png"}}
    server.answer(tasks_path(after=100), json.dumps({"tasks": [task], "total": 7}).encode())
    application = make_application(**environ)
    application.open(100)
    gate.allowed.release(2)
    gate.wait_for(100, 300)
    application.wait_for('m2n2_preparation_found_total{level="network"}', 2)
    assert find_asked(server) == [tasks_path(after=100), "/data/upload/1/300.png"]
    assert {authorization for _, _, authorization, _ in server.seen} == {f"Token {KEY}"}


@pytest.mark.parametrize("is_own", [True, False])
def test_a_next_task_that_another_server_will_answer_is_left_to_it(
    make_application, server, environ, gate, make_png, is_own
):
    server.answer("/data/upload/1/300.png", make_png(300, 48))
    task = {"id": 103, "data": {"image": "/data/upload/1/300.png"}}
    server.answer(tasks_path(after=100), json.dumps({"tasks": [task], "total": 7}).encode())
    server.answer(tasks_path(after=200), json.dumps({"tasks": [], "total": 0}).encode())
    own, wanted = "here:9090", [True, is_own, True]
    pairs = [[own, f"there-{number}:9090"] for number in range(100)]
    peers = next(pair for pair in pairs if [rank_peers(pair, f"task {n}")[0] == own for n in (100, 103, 200)] == wanted)
    application = make_application(**environ, M2N2_PEERS=",".join(peers), M2N2_OWN_PEER=own)
    gate.allowed.release(3)
    application.open(100)
    application.wait_for('m2n2_preparation_found_total{level="network"}', 1 + is_own)
    application.open(200)
    application.wait_for('m2n2_preparation_found_total{level="network"}', 2 + is_own)
    # An image leaves the queue when it has been fetched.
    application.wait_for("m2n2_preparation_waiting", 0)
    assert ("/data/upload/1/300.png" in find_asked(server)) == is_own


def test_a_batch_of_many_tasks_asks_for_no_next_ones(make_application, server, environ, gate):
    application = make_application(**environ)
    application.open(100, 200)
    gate.allowed.release(2)
    gate.wait_for(100, 200)
    application.wait_for('m2n2_preparation_found_total{level="network"}', 2)
    assert find_asked(server) == []


def test_no_next_tasks_are_asked_for_where_the_setting_says_none(make_application, server, environ, gate):
    application = make_application(**environ, M2N2_PREPARE_NEXT="0")
    application.open(100)
    gate.allowed.release()
    application.wait_for('m2n2_preparation_found_total{level="network"}', 1)
    assert find_asked(server) == []


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [(404, b'{"detail": "No Project"}', "No Project"), (200, b'{"tasks": 1}', "lists no tasks of the kind known")],
)
def test_a_label_studio_that_does_not_tell_what_comes_next_is_named(
    make_application, server, environ, gate, caplog, status, body, reason
):
    server.answer(tasks_path(after=100), body, status)
    application = make_application(**environ)
    application.open(100)
    gate.allowed.release()
    application.wait_for("m2n2_preparation_failures_total", 1)
    assert application.metric('m2n2_preparation_found_total{level="network"}') == 1
    (record,) = (record for record in caplog.records if record.name == "backend.scheduling.preparation")
    assert reason in record.message


class Following:
    """Notes what it is told, as widths."""

    def __init__(self):
        self.followed, self.left = [], []
        self.changed = threading.Condition()

    def follow(self, image, picture, ticket, is_in_the_way):
        with self.changed:
            self.followed.append((int(image.reference), picture.size[1]))
            self.changed.notify_all()

    def leave(self, image):
        with self.changed:
            self.left.append(int(image.reference))
            self.changed.notify_all()

    def wait_for(self, followed=(), left=()):
        with self.changed:
            done = self.changed.wait_for(lambda: (self.followed, self.left) == (followed, left), DEADLINE_SECONDS)
            assert done, (self.followed, self.left)


def test_a_follower_is_told_of_each_image_and_of_those_that_come_next(busy, gate):
    background, following = busy(), Following()
    background.preparation.add(name(2, 3), is_opened=True, look_ahead=lambda: name(10), follower=following)
    background.add(2)
    gate.allowed.release(4)
    following.wait_for([(2, 2), (3, 3), (10, 10)], [])


def test_a_follower_is_told_of_images_that_are_never_prepared(busy, gate):
    background, following = busy(places=3), Following()
    background.shelf.errors["2"] = ImageRefused("the host is not open")
    gate.errors = {3: OutOfMemory("no room")}
    # Of five, two find no place, and a newer one drives another out.
    background.preparation.add(name(2, 3, 4, 5, 6), is_opened=True, follower=following)
    background.add(7)
    following.wait_for([], [5, 6, 4])
    gate.allowed.release(3)
    following.wait_for([], [5, 6, 4, 2, 3])
    background.wait_for(failures=2)


def test_a_follower_is_told_of_what_was_discarded_and_of_what_is_left_at_the_end(busy, gate):
    background, following = busy(), Following()
    background.preparation.add(name(2, 3), is_opened=True, follower=following)
    background.preparation.discard(name(2)[0])
    background.preparation.discard(name(9)[0])
    following.wait_for([], [2])
    closing = threading.Thread(target=background.preparation.close)
    closing.start()
    following.wait_for([], [2, 3])
    background.preparation.add(name(4), is_opened=True, follower=following)
    following.wait_for([], [2, 3, 4])
    gate.allowed.release(1)
    closing.join(DEADLINE_SECONDS)
    assert not closing.is_alive()
