"""Annotators of ``backend.tools.plan`` at work on real replicas: the same visits, in real time, and what each took."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend.engines.background import LoadedEngine
from backend.engines.ray_segmenter import Cluster, RaySegmenter
from backend.http.request import RequestRecord
from backend.images.fetcher import create_picture_cache
from backend.scheduling.clicks import ClickQueue, ClickService, PixelPrompt
from backend.settings import load_settings
from backend.tools.load import draw_image
from backend.tools.plan.annotators import Visit
from backend.tools.plan.service_times import READYING, Part
from backend.tools.plan.simulation import ClickRecord, Outcome
from backend.tools.ray.timed_replica import Work
from m2n2_engine.types import Click, Deadline, Picture, Tier

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

    def ask(self, method: str, digest: str, arguments: Sequence[object], deadline: Deadline) -> Any:
        """See `ray_segmenter.Cluster.ask`."""
        started = time.perf_counter()
        answer = self._cluster.ask(method, digest, arguments, deadline)
        self.asked[digest].append(time.perf_counter() - started)
        return answer


def replay(cluster: Cluster, visits: Sequence[Sequence[Visit]], computing: int) -> Replay:
    """All annotators at once, each in a thread of her own, through the server's queue of clicks, but without HTTP.

    cluster: of `TimedReplica`, which know none of the images. computing: clicks in hand at a time.
    """
    timed = TimedCluster(cluster)
    segmenter = RaySegmenter(timed)
    segmenter.status()  # how many replicas there are
    queue = ClickQueue(len(visits), computing)
    service = ClickService(LoadedEngine(segmenter), create_picture_cache(load_settings({})), queue)
    pictures = {visit.image: draw_picture(visit.image) for own in visits for visit in own}
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(visits)) as pool:
        futures = [pool.submit(_annotate, service, annotator, own, pictures) for annotator, own in enumerate(visits)]
        clicks = [record for future in futures for record in future.result()]
    outcome = Outcome(clicks, wall_seconds=time.perf_counter() - started)
    work = _gather(list(cluster.ask_all("read_work").values()))
    pairs = [_match(own, pictures, timed.asked, work) for own in visits]
    for _, item in (pair for own in pairs for pair in own):
        outcome.found[item.tier] += 1
        outcome.busy_seconds += item.prepared + item.clicked
    return Replay(outcome, [_measure_parts(own) for own in pairs])


def _annotate(
    service: ClickService, annotator: int, visits: Sequence[Visit], pictures: Mapping[int, Picture]
) -> Sequence[ClickRecord]:
    records = []
    rng = np.random.default_rng(annotator)
    for visit in visits:
        clicks: list[Click] = []
        for number, think_seconds in enumerate(visit.think_seconds, start=1):
            time.sleep(think_seconds)
            clicks.append(Click(rng.uniform(0, SIZE[1]), rng.uniform(0, SIZE[0]), positive=number % 3 != 0))
            started = time.perf_counter()
            with service.queue.join(None, RequestRecord()) as ticket:
                service.segment(pictures[visit.image], [PixelPrompt(clicks)], ticket)
            records.append(ClickRecord(annotator, number, time.perf_counter() - started))
    return records


def draw_picture(number: int) -> Picture:
    """Another one for each number."""
    return Picture.of(draw_image(number, SIZE))


def _gather(replicas: Sequence[Mapping[str, Sequence[Work]]]) -> Mapping[str, Sequence[Work]]:
    """The work of all replicas by digest, in order."""
    done: dict[str, list[Work]] = collections.defaultdict(list)
    for work in replicas:
        for digest, items in work.items():
            done[digest] += items
    return {digest: sorted(items, key=lambda item: item.ended) for digest, items in done.items()}


def _match(
    visits: Sequence[Visit],
    pictures: Mapping[int, Picture],
    asked: Mapping[str, Sequence[float]],
    work: Mapping[str, Sequence[Work]],
) -> list[tuple[float, Work]]:
    """What one annotator's clicks were: seconds until each answer, and a replica's work for it. Nobody else clicks on
    her images, so that both are in the same order."""
    own = [pictures[image].digest for image in {visit.image for visit in visits}]
    return [pair for digest in own for pair in zip(asked[digest], work[digest], strict=True)]


def _measure_parts(asked: Sequence[tuple[float, Work]]) -> Parts:
    parts: dict[Part, list[float]] = {part: [] for part in Part}
    for seconds, work in asked:
        parts[Part.HAND_OVER].append(seconds - work.seconds)
        if work.tier is not Tier.DEVICE:
            parts[READYING[work.tier]].append(work.prepared)
        if work.clicks == 1:
            parts[Part.FIRST_CLICK].append(work.clicked)
        # A session that was dropped sees all clicks before this one again.
        elif work.clicks > 1 and work.tier is Tier.DEVICE:
            parts[Part.NEXT_CLICK].append(work.clicked)
    return parts
