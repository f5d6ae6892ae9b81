from __future__ import annotations

import base64
import concurrent.futures
import gc
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from backend.engines.ray_segmenter import RaySegmenter, ReplicaLost
from m2n2_engine.errors import Busy, InvalidClicks
from m2n2_engine.types import Box, Click, Image, Level

CLICKS = (Click(10, 10),)
BOX = Box(1, 2, 15, 16)
DEADLINE_SECONDS = 10


class Reference:
    """What an image was put under."""

    def __init__(self, image: Image) -> None:
        self.image = image.copy()


class LocalCluster:
    """One segmenter as the only replica. Raises ``failures`` first; remembers images put and questions asked."""

    def __init__(self, segmenter: Any) -> None:
        self.segmenter = segmenter
        self.failures: list[Exception] = []
        self.puts: list[weakref.ref[Reference]] = []
        self.asked: list[tuple[str, str]] = []
        self.timeouts: list[float] = []
        self.described = 0

    def put(self, image: Image) -> object:
        reference = Reference(image)
        self.puts.append(weakref.ref(reference))
        return reference

    def ask(self, method: str, digest: str, arguments: Sequence[Any], timeout_seconds: float) -> Any:
        self.asked.append((method, digest))
        self.timeouts.append(timeout_seconds)
        if self.failures:
            raise self.failures.pop(0)
        reference, *others = arguments
        return getattr(self.segmenter, method)(reference.image, *others)

    def ask_all(self, method: str) -> Mapping[str, Any]:
        self.described += 1
        return {"only": self.segmenter.describe()}


@pytest.fixture
def cluster(segmenter):
    return LocalCluster(segmenter)


@pytest.fixture
def ray_segmenter(cluster):
    return RaySegmenter(cluster)


@pytest.fixture
def ask(recorded, make_png):
    """Sends a click on an image of this width; another one for each width."""

    def post(client: FlaskClient, width: int = 640) -> Any:
        body = recorded("predict_interactive_1_points")
        body["tasks"][0]["id"] = width
        body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png(width)).decode()
        return client.post("/predict", json=body)

    return post


def make_image(value: int = 0) -> Image:
    image = np.full((20, 30, 3), value, np.uint8)
    image.setflags(write=False)
    return image


def test_the_answer_is_the_replicas(ray_segmenter, segmenter):
    image = make_image()
    np.testing.assert_array_equal(ray_segmenter.segment(image, CLICKS).mask, segmenter.segment(image, CLICKS).mask)
    np.testing.assert_array_equal(ray_segmenter.segment(image, [], BOX).mask, segmenter.segment(image, [], BOX).mask)


def test_an_image_is_put_once_and_asked_for_by_its_digest(ray_segmenter, cluster):
    image, other = make_image(1), make_image(2)
    for _ in range(3):
        ray_segmenter.prepare(image)
        ray_segmenter.segment(image, CLICKS)
    ray_segmenter.segment(other, CLICKS)
    assert len(cluster.puts) == 2
    digests = [digest for _, digest in cluster.asked]
    assert len(set(digests[:6])) == 1
    assert digests[6] != digests[0]
    # The same pixels in another array, as after a download: the same replica.
    ray_segmenter.segment(make_image(1), CLICKS)
    assert cluster.asked[-1][1] == digests[0]


def test_a_reference_goes_with_its_image(ray_segmenter, cluster):
    image = make_image()
    ray_segmenter.segment(image, CLICKS)
    assert cluster.puts[0]() is not None
    del image
    gc.collect()
    assert cluster.puts[0]() is None


def test_an_image_that_may_have_changed_is_put_again(ray_segmenter, cluster):
    image = np.zeros((20, 30, 3), np.uint8)
    ray_segmenter.prepare(image)
    image[0, 0] = 9
    ray_segmenter.prepare(image)
    (_, before), (_, after) = cluster.asked
    assert before != after


def test_a_lost_replica_loses_no_click(ray_segmenter, cluster, caplog):
    cluster.failures = [ReplicaLost("gone"), ReplicaLost("gone too")]
    assert ray_segmenter.segment(make_image(), CLICKS).mask.any()
    assert len(cluster.puts) == 1
    assert caplog.text.count("is asked for again") == 2


def test_replicas_that_are_lost_again_and_again_are_given_up(ray_segmenter, cluster):
    cluster.failures = [ReplicaLost("gone")] * 10
    with pytest.raises(ReplicaLost):
        ray_segmenter.segment(make_image(), CLICKS)
    assert len(cluster.asked) == 3


def test_attempts_share_the_time_that_a_client_waits(cluster):
    now = [0.0]
    ray_segmenter = RaySegmenter(cluster, clock=lambda: now[0])
    ask = cluster.ask

    def ask_slowly(*question: Any) -> Any:
        now[0] += 30
        return ask(*question)

    cluster.ask = ask_slowly
    cluster.failures = [ReplicaLost("gone")]
    ray_segmenter.prepare(make_image())
    assert cluster.timeouts == [90, 60]


@pytest.mark.parametrize("error", [Busy("too much"), InvalidClicks("outside")])
def test_what_another_replica_cannot_mend_is_not_tried_again(ray_segmenter, cluster, error):
    cluster.failures = [error]
    with pytest.raises(type(error)):
        ray_segmenter.segment(make_image(), CLICKS)
    assert len(cluster.asked) == 1


def test_an_image_is_found_once_a_replica_has_answered_for_it(ray_segmenter, cluster):
    image = make_image()
    assert ray_segmenter.find_level(image) is Level.NETWORK
    cluster.failures = [Busy("too much")]
    with pytest.raises(Busy):
        ray_segmenter.prepare(image)
    assert ray_segmenter.find_level(image) is Level.NETWORK
    assert ray_segmenter.prepare(image) is Level.NETWORK
    assert ray_segmenter.find_level(image) is Level.DEVICE
    assert ray_segmenter.find_level(make_image(1)) is Level.NETWORK


def test_facts_are_asked_for_every_few_seconds_and_not_with_every_answer(cluster, segmenter):
    now = [0.0]
    ray_segmenter = RaySegmenter(cluster, facts_seconds=5, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 4.9):
        assert ray_segmenter.describe()["model_version"] == segmenter.describe()["model_version"]
    assert cluster.described == 1
    now[0] = 5.0
    assert ray_segmenter.describe()["replicas"] == 1
    assert cluster.described == 2


def test_nobody_waits_for_facts_that_another_is_asking_for(cluster, segmenter):
    ray_segmenter = RaySegmenter(cluster, facts_seconds=0)
    known = ray_segmenter.describe()
    asked, go = threading.Event(), threading.Event()

    def ask_all(method: str) -> Mapping[str, Any]:
        asked.set()
        assert go.wait(DEADLINE_SECONDS)
        return {name: segmenter.describe() for name in ("one", "other")}

    cluster.ask_all = ask_all
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ray_segmenter.describe)
        assert asked.wait(DEADLINE_SECONDS)
        assert ray_segmenter.describe() == known
        go.set()
        assert asking.result(DEADLINE_SECONDS)["replicas"] == 2


def test_it_prepares_as_many_images_at_a_time_as_replicas_answered(ray_segmenter, cluster, segmenter):
    assert ray_segmenter.count_networks() == 1
    cluster.ask_all = lambda method: {name: segmenter.describe() for name in ("one", "other", "third")}
    ray_segmenter.describe()
    assert ray_segmenter.count_networks() == 3


def test_without_a_replica_one_image_may_wait_for_the_next_one(cluster):
    ray_segmenter = RaySegmenter(cluster, facts_seconds=0)
    cluster.ask_all = lambda method: {}
    ray_segmenter.describe()
    assert ray_segmenter.count_networks() == 1


def test_the_servers_line_prepares_as_many_images_at_a_time_as_there_are_replicas(cluster, segmenter, make_client, ask):
    cluster.ask_all = lambda method: {name: segmenter.describe() for name in ("one", "other")}
    both = threading.Barrier(2)
    prepare = segmenter.prepare

    def prepare_together(image: Image) -> Level:
        both.wait(DEADLINE_SECONDS)
        return prepare(image)

    segmenter.prepare = prepare_together
    client = make_client(instead=RaySegmenter(cluster))
    client.get("/health")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda width: ask(client, width), (40, 50)))
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_full_line_of_the_cluster_is_answered_503_with_retry_after(ray_segmenter, cluster, make_client, ask):
    cluster.failures = [Busy("too many clicks wait for a replica")]
    answer = ask(make_client(instead=ray_segmenter))
    assert (answer.status_code, answer.json["error"]["type"]) == (503, "Busy")
    assert answer.headers["Retry-After"]


def test_the_replicas_are_counted_in_the_metrics(ray_segmenter, make_client):
    assert "m2n2_replicas 1.0" in make_client(instead=ray_segmenter).get("/metrics").text
