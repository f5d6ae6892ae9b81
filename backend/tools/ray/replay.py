"""Annotators of ``backend.tools.plan`` at work on real replicas: the same visits, in real time, and what each took."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flask import Flask

from backend.engines.ray_segmenter import Cluster, RaySegmenter
from backend.scheduling.clicks import QueuedSegmenter
from backend.scheduling.queue import ClickQueue
from backend.tools.load import draw_image
from backend.tools.plan.annotators import Visit
from backend.tools.plan.service_times import READYING, Part
from backend.tools.plan.simulation import ClickRecord, Outcome
from backend.tools.ray.timed_replica import Work
from m2n2_engine.image_digest import ImageDigests
from m2n2_engine.types import Click, Image, Level

SIZE = (480, 640)
"""(H, W) of the images."""

Parts = Mapping[Part, Sequence[float]]
"""Seconds that each part took, again and again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """outcome: as of a simulation. parts: by annotator, of her clicks."""

    outcome: Outcome
    parts: Sequence[Parts]


class TimedCluster:
    """A cluster that notes how long its answers took, in seconds by digest and in order."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.asked: dict[str, list[float]] = collections.defaultdict(list)
        self.put, self.ask_all = cluster.put, cluster.ask_all

    def ask(self, method: str, digest: str, arguments: Sequence[object], timeout_seconds: float) -> Any:
        """See `ray_segmenter.Cluster.ask`."""
        started = time.perf_counter()
        answer = self._cluster.ask(method, digest, arguments, timeout_seconds)
        self.asked[digest].append(time.perf_counter() - started)
        return answer


def replay(cluster: Cluster, visits: Sequence[Sequence[Visit]], computing: int) -> Replay:
    """All annotators at once, each in a thread of her own, through the server's line of clicks, but without HTTP.

    cluster: of `TimedReplica`, which know none of the images. computing: clicks in hand at a time.
    """
    timed = TimedCluster(cluster)
    segmenter = RaySegmenter(timed)
    segmenter.describe()  # how many replicas there are
    queue = ClickQueue(len(visits), computing, count_networks=segmenter.count_networks)
    route = _Route(QueuedSegmenter(segmenter, queue), queue)
    images = {visit.image: draw_frozen(visit.image) for own in visits for visit in own}
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(visits)) as pool:
        futures = [pool.submit(_annotate, route, annotator, own, images) for annotator, own in enumerate(visits)]
        clicks = [record for future in futures for record in future.result()]
    outcome = Outcome(clicks, wall_seconds=time.perf_counter() - started)
    work = _gather(list(cluster.ask_all("read_work").values()))
    pairs = [_match(own, images, timed.asked, work) for own in visits]
    for _, item in (pair for own in pairs for pair in own):
        outcome.found[item.level] += 1
        outcome.busy_seconds += item.prepared + item.clicked
    return Replay(outcome, [_measure_parts(own) for own in pairs])


class _Route:
    """What a route of the server does with a click between parsing and rendering it."""

    def __init__(self, segmenter: QueuedSegmenter, queue: ClickQueue) -> None:
        self._segmenter = segmenter
        self._queue = queue
        self._app = Flask("replay")  # the stages of a click are noted with its request

    def click(self, name: int, image: Image, clicks: Sequence[Click]) -> None:
        """name: of the image."""
        with self._app.app_context(), self._queue.join(None, name) as ticket:
            self._segmenter.prepare(ticket, image)
            self._segmenter.segment(ticket, image, clicks, None)


def _annotate(
    route: _Route, annotator: int, visits: Sequence[Visit], images: Mapping[int, Image]
) -> Sequence[ClickRecord]:
    records = []
    rng = np.random.default_rng(annotator)
    for visit in visits:
        clicks: list[Click] = []
        for number, think_seconds in enumerate(visit.think_seconds, start=1):
            time.sleep(think_seconds)
            clicks.append(Click(rng.uniform(0, SIZE[1]), rng.uniform(0, SIZE[0]), positive=number % 3 != 0))
            started = time.perf_counter()
            route.click(visit.image, images[visit.image], clicks)
            records.append(ClickRecord(annotator, number, time.perf_counter() - started))
    return records


def draw_frozen(number: int) -> Image:
    """Unchangeable, as the server's images are."""
    return np.frombuffer(draw_image(number, SIZE).tobytes(), np.uint8).reshape(*SIZE, 3)


def _gather(replicas: Sequence[Mapping[str, Sequence[Work]]]) -> Mapping[str, Sequence[Work]]:
    """The work of all replicas by digest, in order."""
    done: dict[str, list[Work]] = collections.defaultdict(list)
    for work in replicas:
        for digest, items in work.items():
            done[digest] += items
    return {digest: sorted(items, key=lambda item: item.ended) for digest, items in done.items()}


def _match(
    visits: Sequence[Visit],
    images: Mapping[int, Image],
    asked: Mapping[str, Sequence[float]],
    work: Mapping[str, Sequence[Work]],
) -> list[tuple[float, Work]]:
    """What one annotator's clicks were: seconds until each answer, and a replica's work for it. Nobody else clicks on
    her images, so that both are in the same order."""
    digests = ImageDigests()
    own = [digests.digest(images[image]) for image in {visit.image for visit in visits}]
    return [pair for digest in own for pair in zip(asked[digest], work[digest], strict=True)]


def _measure_parts(asked: Sequence[tuple[float, Work]]) -> Parts:
    parts: dict[Part, list[float]] = {part: [] for part in Part}
    for seconds, work in asked:
        parts[Part.HAND_OVER].append(seconds - work.seconds)
        if work.level is not Level.DEVICE:
            parts[READYING[work.level]].append(work.prepared)
        if work.clicks == 1:
            parts[Part.FIRST_CLICK].append(work.clicked)
        # A session that was dropped sees all clicks before this one again.
        elif work.clicks > 1 and work.level is Level.DEVICE:
            parts[Part.NEXT_CLICK].append(work.clicked)
    return parts
