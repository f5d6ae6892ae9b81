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

from backend.engines.background import LoadedEngine
from backend.engines.ray_segmenter import RaySegmenter, ReplicaLost
from backend.errors import Busy
from m2n2_engine.errors import DeadlineExceeded, InvalidClicks
from m2n2_engine.types import Box, Click, Deadline, Image, Picture, Tier

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
        self.seconds: list[float] = []
        self.statuses = 0

    def put(self, image: Image) -> object:
        reference = Reference(image)
        self.puts.append(weakref.ref(reference))
        return reference

    def ask(self, method: str, digest: str, arguments: Sequence[Any], deadline: Deadline) -> Any:
        self.asked.append((method, digest))
        reference, seconds, *others = arguments
        self.seconds.append(seconds)
        if self.failures:
            raise self.failures.pop(0)
        return getattr(self.segmenter, method)(Picture.of(reference.image), *others)

    def ask_all(self, method: str) -> Mapping[str, Any]:
        assert method == "status"
        self.statuses += 1
        return {"only": self.segmenter.status()}


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


def make_picture(value: int = 0) -> Picture:
    return Picture.of(np.full((20, 30, 3), value, np.uint8))


def test_the_answer_is_the_replicas(ray_segmenter, segmenter):
    picture = make_picture()
    for prompt in ((CLICKS,), ([], BOX), (CLICKS, None, np.eye(20, 30) > 0)):
        expected = segmenter.segment(picture, *prompt).mask
        np.testing.assert_array_equal(ray_segmenter.segment(picture, *prompt).mask, expected)


def test_the_sizes_are_the_replicas(ray_segmenter, segmenter, cluster):
    picture = make_picture()
    with ray_segmenter.open(picture) as opened:
        found = opened.candidates(CLICKS)
    assert cluster.asked[-1] == ("candidates", picture.digest)
    expected = segmenter.candidates(picture, CLICKS)
    assert len(found) == len(expected) == 3
    for each, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each.mask, other.mask)


def test_a_picture_is_put_once_and_asked_for_by_its_digest(ray_segmenter, cluster):
    picture, other = make_picture(1), make_picture(2)
    for _ in range(3):
        ray_segmenter.prepare(picture)
        ray_segmenter.segment(picture, CLICKS)
    ray_segmenter.segment(other, CLICKS)
    assert len(cluster.puts) == 2
    expected = [("prepare", picture), *[("segment", picture)] * 3, ("prepare", other), ("segment", other)]
    assert cluster.asked == [(method, each.digest) for method, each in expected]
    # The same pixels in another array, as after a download: the same replica.
    ray_segmenter.segment(make_picture(1), CLICKS)
    assert cluster.asked[-1][1] == picture.digest


def test_a_reference_goes_with_its_picture(ray_segmenter, cluster):
    picture = make_picture()
    ray_segmenter.segment(picture, CLICKS)
    assert cluster.puts[0]() is not None
    del picture
    gc.collect()
    assert cluster.puts[0]() is None


def test_a_lost_replica_loses_no_click(ray_segmenter, cluster, caplog):
    cluster.failures = [ReplicaLost("gone"), ReplicaLost("gone too")]
    assert ray_segmenter.segment(make_picture(), CLICKS).mask.any()
    assert len(cluster.puts) == 1
    assert caplog.text.count("is asked for again") == 2


def test_replicas_that_are_lost_again_and_again_are_given_up(ray_segmenter, cluster):
    cluster.failures = [ReplicaLost("gone")] * 10
    with pytest.raises(ReplicaLost):
        ray_segmenter.segment(make_picture(), CLICKS)
    assert len(cluster.asked) == 3


def test_attempts_share_the_time_that_is_left_and_tell_the_replica_how_much(ray_segmenter, cluster):
    cluster.failures = [ReplicaLost("gone")]
    ray_segmenter.prepare(make_picture(), Deadline.after(90))
    first, second = cluster.seconds
    assert 0 < second <= first <= 90


def test_no_replica_is_asked_when_no_time_is_left(ray_segmenter, cluster):
    with pytest.raises(DeadlineExceeded):
        ray_segmenter.prepare(make_picture(), Deadline.after(0))
    assert cluster.asked == []


@pytest.mark.parametrize("error", [Busy("too much"), InvalidClicks("outside")])
def test_what_another_replica_cannot_mend_is_not_tried_again(ray_segmenter, cluster, error):
    cluster.failures = [error]
    with pytest.raises(type(error)):
        ray_segmenter.segment(make_picture(), CLICKS)
    assert len(cluster.asked) == 1


def test_a_picture_is_found_once_a_replica_has_answered_for_it(ray_segmenter, cluster):
    picture = make_picture()
    cluster.failures = [Busy("too much")]
    with pytest.raises(Busy):
        ray_segmenter.prepare(picture)
    assert ray_segmenter.prepare(picture) is Tier.NETWORK
    assert ray_segmenter.prepare(picture) is Tier.DEVICE
    assert ray_segmenter.prepare(make_picture(1)) is Tier.NETWORK


def test_status_are_asked_for_every_few_seconds_and_not_with_every_answer(cluster, segmenter):
    now = [0.0]
    ray_segmenter = RaySegmenter(cluster, status_seconds=5, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 4.9):
        assert ray_segmenter.model_version == segmenter.model_version
    assert cluster.statuses == 1
    now[0] = 5.0
    assert ray_segmenter.status().replicas == 1
    assert cluster.statuses == 2


def test_nobody_waits_for_status_that_another_is_asking_for(cluster, segmenter):
    ray_segmenter = RaySegmenter(cluster, status_seconds=0)
    known = ray_segmenter.status()
    asked, go = threading.Event(), threading.Event()

    def ask_all(method: str) -> Mapping[str, Any]:
        asked.set()
        assert go.wait(DEADLINE_SECONDS)
        return {name: segmenter.status() for name in ("one", "other")}

    cluster.ask_all = ask_all
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ray_segmenter.status)
        assert asked.wait(DEADLINE_SECONDS)
        assert ray_segmenter.status() == known
        go.set()
        assert asking.result(DEADLINE_SECONDS).replicas == 2


def test_it_prepares_as_many_images_at_a_time_as_replicas_answered(ray_segmenter, cluster, segmenter):
    assert ray_segmenter.count_networks() == 1
    cluster.ask_all = lambda method: {name: segmenter.status() for name in ("one", "other", "third")}
    ray_segmenter.status()
    assert ray_segmenter.count_networks() == 3


def test_without_a_replica_one_image_may_wait_for_the_next_one(cluster):
    ray_segmenter = RaySegmenter(cluster, status_seconds=0)
    cluster.ask_all = lambda method: {}
    ray_segmenter.status()
    assert ray_segmenter.count_networks() == 1


def test_the_servers_line_prepares_as_many_images_at_a_time_as_there_are_replicas(cluster, segmenter, make_client, ask):
    cluster.ask_all = lambda method: {name: segmenter.status() for name in ("one", "other")}
    both = threading.Barrier(2)
    segmenter.before_prepare = lambda picture: both.wait(DEADLINE_SECONDS)
    client = make_client(instead=LoadedEngine(RaySegmenter(cluster)))
    client.get("/health")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda width: ask(client, width), (40, 50)))
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_full_line_of_the_cluster_is_answered_503_with_retry_after(ray_segmenter, cluster, make_client, ask):
    cluster.failures = [Busy("too many clicks wait for a replica")]
    answer = ask(make_client(instead=LoadedEngine(ray_segmenter)))
    assert (answer.status_code, answer.json["error"]["type"]) == (503, "Busy")
    assert answer.headers["Retry-After"]


def test_the_replicas_are_counted_in_the_metrics(ray_segmenter, make_client):
    assert "m2n2_replicas 1.0" in make_client(instead=LoadedEngine(ray_segmenter)).get("/metrics").text
