"""Replicas of the engine on a cluster of this machine, asked as the backend asks; `make ray-test` runs it."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import io
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image as PillowImage

from backend.app import create_app
from backend.engines.background import LoadedEngine
from backend.engines.ray_cluster import connect
from backend.engines.ray_replica import require_ready
from backend.engines.ray_segmenter import RaySegmenter
from backend.errors import NotReady
from backend.settings import load_settings
from backend.tools.ray.replicas import APP_NAME, deploy
from m2n2_engine.engine import Engine
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.types import Click, EngineStatus, Mask, Picture, State, Tier, TierStatus

IMAGES = 8
ROUNDS = 5
LEAST_IOU = 0.999
LEAST_SHARE_AT_HOME = 0.95
LONG_PROMPT = 20
"""Clicks that take seconds together."""
LOAD_SECONDS = 5.0
CLICKING_THREADS = 4
DEADLINE_SECONDS = 60.0

ReadTiers = Callable[[], Mapping[str, TierStatus]]


def tell(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")


def make_clicks(number: int) -> Sequence[Click]:
    """A click that no other number has, so that it is computed."""
    return [Click(150.0 + number % 300, 120.0 + number // 300)]


def measure_iou(mask: Mask, other: Mask) -> float:
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else 1.0


@pytest.fixture
def read_tiers(address: str) -> ReadTiers:
    """The device tier of each replica that answers, by its name."""
    cluster = connect(address, APP_NAME)

    def read() -> Mapping[str, TierStatus]:
        return {name: status.tiers[Tier.DEVICE] for name, status in cluster.ask_all("status").items()}

    return read


def count_found(segmenter: RaySegmenter) -> tuple[int, int]:
    """How often a replica held the image it was asked about, and how often not."""
    device = segmenter.status().tiers[Tier.DEVICE]
    return device.hits, device.misses


def test_answers_are_the_local_engines_and_clicks_go_where_their_image_is(
    segmenter: RaySegmenter, local: Engine, make_image: Callable[[], Picture], read_tiers: ReadTiers
) -> None:
    images = [make_image() for _ in range(IMAGES)]
    before = count_found(segmenter)
    for number in range(ROUNDS):
        for image in images:
            answer = segmenter.segment(image, make_clicks(number))
            expected = local.segment(image, make_clicks(number))
            assert measure_iou(answer.mask, expected.mask) >= LEAST_IOU
            assert answer.score == pytest.approx(expected.score, abs=1e-3)
        if number == 0:
            first = count_found(segmenter)
    assert first[1] - before[1] == IMAGES
    hits, misses = (now - then for now, then in zip(count_found(segmenter), first, strict=True))
    tell(f"after the first round {hits} of {hits + misses} clicks went to the replica that held their image")
    assert hits + misses == (ROUNDS - 1) * IMAGES
    assert hits >= LEAST_SHARE_AT_HOME * (hits + misses)
    held = [tier.images for tier in read_tiers().values()]
    tell(f"images held by each replica: {held}")
    assert len(held) == 2
    assert min(held) > 0


def test_a_refusal_of_the_engine_keeps_its_kind_and_its_words(
    segmenter: RaySegmenter, local: Engine, make_image: Callable[[], Picture]
) -> None:
    image = make_image()
    with pytest.raises(InvalidClicks) as expected:
        local.segment(image, [Click(9999, 1)])
    with pytest.raises(InvalidClicks) as caught:
        segmenter.segment(image, [Click(9999, 1)])
    assert (type(caught.value), str(caught.value)) == (InvalidClicks, str(expected.value))


def test_a_server_that_is_told_to_end_is_not_aborted(address: str, segmenter: RaySegmenter) -> None:
    program = f"""
import os, signal, threading
from backend.engines.background import LoadedEngine
from backend.engines.ray_cluster import connect
signal.signal(signal.SIGTERM, lambda *_: None)
joining = threading.Thread(target=connect, args=({address!r}, {APP_NAME!r}))
joining.start()
joining.join()
os.kill(os.getpid(), signal.SIGTERM)
raise SystemExit(signal.alarm(0))
"""
    # The status: in how many seconds an alarm would end it.
    assert subprocess.run([sys.executable, "-c", program], timeout=DEADLINE_SECONDS).returncode == 0


def test_an_application_that_is_not_there_may_come(address: str) -> None:
    with pytest.raises(NotReady, match="M2N2_RAY_APP"):
        connect(address, "nobody")


def test_a_click_that_a_killed_replica_had_in_hand_is_answered_by_another(
    segmenter: RaySegmenter, local: Engine, make_image: Callable[[], Picture], read_tiers: ReadTiers
) -> None:
    image = make_image()
    clicks = [click for number in range(LONG_PROMPT) for click in make_clicks(number)]
    expected = local.segment(image, clicks).mask
    before = read_tiers()
    segmenter.prepare(image)
    holder = next(name for name, tier in read_tiers().items() if tier.misses > before[name].misses)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(segmenter.segment, image, clicks)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while read_tiers()[holder].hits == before[holder].hits:
            assert time.monotonic() < deadline
        kill(holder)
        assert measure_iou(answer.result(DEADLINE_SECONDS).mask, expected) >= LEAST_IOU
    assert holder not in read_tiers()


def test_a_killed_replica_loses_no_click_and_its_images_move(
    segmenter: RaySegmenter, local: Engine, make_image: Callable[[], Picture], read_tiers: ReadTiers
) -> None:
    images = [make_image() for _ in range(IMAGES)]
    expected = [local.segment(image, make_clicks(0)).mask for image in images]
    for image in images:
        segmenter.prepare(image)
    answered = threading.Semaphore(0)
    is_over = threading.Event()

    def click(first: int) -> int:
        """How many clicks were answered until it was over."""
        for count in itertools.count():
            number = (first + count) % IMAGES
            assert measure_iou(segmenter.segment(images[number], make_clicks(0)).mask, expected[number]) >= LEAST_IOU
            answered.release()
            if is_over.is_set():
                return count + 1
        raise AssertionError

    with concurrent.futures.ThreadPoolExecutor(CLICKING_THREADS) as pool:
        clicks = [pool.submit(click, first) for first in range(CLICKING_THREADS)]
        wait_for(answered, IMAGES)
        victim = next(iter(read_tiers()))
        kill(victim)
        # Each image again by each thread, whichever replica held it.
        wait_for(answered, 3 * CLICKING_THREADS * IMAGES)
        is_over.set()
        tell(f"{sum(future.result() for future in clicks)} clicks answered, none lost")
    living = read_tiers()
    assert victim not in living
    assert sum(tier.images for tier in living.values()) >= IMAGES


def wait_for(answered: threading.Semaphore, count: int) -> None:
    for _ in range(count):
        assert answered.acquire(timeout=DEADLINE_SECONDS)


def kill(replica: str) -> None:
    """End the replica's process, as a crash would."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    (actor,) = [actor for actor in actors if actor["name"].endswith(replica)]
    ray.kill(ray.get_actor(actor["name"], namespace=actor["namespace"]))


def test_a_full_line_is_answered_503_with_retry_after(address: str, make_image: Callable[[], Picture]) -> None:
    deploy(1, 0, "narrow", max_ongoing_requests=1, max_queued_requests=1)
    app = create_app(
        load_settings({"M2N2_COMPUTING_CLICKS": "16"}), LoadedEngine(RaySegmenter(connect(address, "narrow")))
    )
    file = io.BytesIO()
    PillowImage.fromarray(make_image().pixels).save(file, "PNG")
    body = render_request("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    assert app.test_client().post("/predict", json=body(0)).json["results"][0]["result"]
    start = threading.Barrier(IMAGES)

    def post(number: int) -> Any:
        start.wait(DEADLINE_SECONDS)
        return app.test_client().post("/predict", json=body(number))

    with concurrent.futures.ThreadPoolExecutor(IMAGES) as pool:
        answers = list(pool.map(post, range(1, IMAGES + 1)))
    refused = [answer for answer in answers if answer.status_code == 503]
    tell(f"{len(refused)} of {len(answers)} refused")
    assert 0 < len(refused) < len(answers)
    assert all(answer.status_code == 200 for answer in answers if answer not in refused)
    for answer in refused:
        assert answer.json["error"]["type"] == "Busy"
        assert answer.headers["Retry-After"]


def render_request(image: str) -> Callable[[int], Any]:
    """What Label Studio sends for one positive click; each number is another click, on another task."""
    config = (
        '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"><Label value="Cat"/>'
        '</BrushLabels><KeyPointLabels name="point" toName="image" smart="true"><Label value="Cat"/></KeyPointLabels>'
        "</View>"
    )

    def render(number: int) -> Any:
        value = {"x": 40.0 + number, "y": 40.0, "width": 0.3, "keypointlabels": ["Cat"]}
        point = {"id": f"point-{number}", "type": "keypointlabels", "from_name": "point", "to_name": "image"}
        point |= {"value": value, "original_width": 640, "original_height": 480, "is_positive": True}
        task = {"id": number, "data": {"image": image}}
        return {"tasks": [task], "label_config": config, "params": {"context": {"result": [point]}}}

    return render


def test_a_second_replica_raises_the_throughput(address: str, make_image: Callable[[], Picture]) -> None:
    rates = []
    for replicas in (1, 2):
        deploy(replicas, 1)
        segmenter = RaySegmenter(connect(address, APP_NAME))
        rates.append(measure_rate(segmenter, [make_image() for _ in range(IMAGES)]))
    ratio = rates[1] / rates[0]
    tell(f"clicks a second: {rates[0]:.1f} with one replica, {rates[1]:.1f} with two: {ratio:.2f} times as many")
    assert ratio > 1


def measure_rate(segmenter: RaySegmenter, images: list[Picture]) -> float:
    """Clicks a second on images that are ready, each click a new one."""
    for image in images:
        segmenter.prepare(image)
    numbers = itertools.count()
    deadline = time.monotonic() + LOAD_SECONDS

    def click(image: Picture) -> int:
        count = 0
        while time.monotonic() < deadline:
            segmenter.segment(image, make_clicks(next(numbers)))
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(len(images)) as pool:
        return sum(pool.map(click, images)) / LOAD_SECONDS


def test_serve_replaces_a_replica_whose_device_is_gone() -> None:
    ready = EngineStatus("m2n2", device="cuda:0")
    require_ready(ready)
    with pytest.raises(NotReady, match="cuda:0 does not answer"):
        require_ready(dataclasses.replace(ready, state=State.FAILED, reason="cuda:0 does not answer"))
