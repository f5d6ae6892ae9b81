"""Annotators at their clicks, the server's two lanes and replicas of the engine, simulated event by event."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence

import simpy

from backend.tools.plan.annotators import Visit
from backend.tools.plan.replica_model import Budgets, ReplicaModel, Shelf
from backend.tools.plan.router import Router
from backend.tools.plan.service_times import Part, ServiceTimes
from m2n2_engine.types import Tier


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """replicas: each works on one click at a time. budgets: of each. computing: clicks that the server has computed at
    a time; it has as many images prepared at a time as there are replicas. hands: clicks that a replica takes at a
    time, ``max_ongoing_requests``. is_disk_shared: the replicas have one disk, of the budget of one."""

    replicas: int
    budgets: Budgets
    computing: int
    hands: int = 16
    is_disk_shared: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class ClickRecord:
    """number: of the click in its object, from 1. seconds: until the answer."""

    annotator: int
    number: int
    seconds: float


@dataclasses.dataclass(slots=True)
class Outcome:
    """found: how often an image was looked for, by where it was found; once to prepare it and once for each click, as
    the engine counts. busy_seconds: of all replicas together. wall_seconds: from the first annotator's start to the
    last answer."""

    clicks: list[ClickRecord] = dataclasses.field(default_factory=list)
    found: collections.Counter[Tier] = dataclasses.field(default_factory=collections.Counter)
    busy_seconds: float = 0.0
    wall_seconds: float = 0.0

    def share(self, tier: Tier) -> float:
        """0 to 1, of all images looked for: those found there."""
        return self.found[tier] / max(1, self.found.total())


def simulate(visits: Sequence[Sequence[Visit]], cluster: Cluster, times: ServiceTimes, seed: int) -> Outcome:
    """All visits of all annotators, to the end. visits: by annotator. seed: of the times and of the routes."""
    simulation = _Simulation(cluster, times, random.Random(seed))
    for annotator, own in enumerate(visits):
        simulation.add(annotator, own)
    return simulation.run()


class _Simulation:
    def __init__(self, cluster: Cluster, times: ServiceTimes, rng: random.Random) -> None:
        self._times = times
        self._rng = rng
        self._world = simpy.Environment()
        self._outcome = Outcome()
        self._preparing = simpy.Resource(self._world, cluster.replicas)
        self._computing = simpy.Resource(self._world, cluster.computing)
        self._router = Router(cluster.replicas, cluster.budgets.images, cluster.hands, rng)
        disks = [Shelf(cluster.budgets.disk_bytes) for _ in range(1 if cluster.is_disk_shared else cluster.replicas)]
        self._replicas = [
            (simpy.Resource(self._world), ReplicaModel(cluster.budgets, disks[number % len(disks)], times, rng))
            for number in range(cluster.replicas)
        ]
        self._prepared: set[int] = set()

    def add(self, annotator: int, visits: Sequence[Visit]) -> None:
        self._world.process(self._annotate(annotator, visits))

    def run(self) -> Outcome:
        self._world.run()
        self._outcome.wall_seconds = self._world.now
        return self._outcome

    def _annotate(self, annotator: int, visits: Sequence[Visit]) -> simpy.events.ProcessGenerator:
        for visit in visits:
            for number, think_seconds in enumerate(visit.think_seconds, start=1):
                yield self._world.timeout(think_seconds)
                started = self._world.now
                yield from self._click(visit.image, number)
                self._outcome.clicks.append(ClickRecord(annotator, number, self._world.now - started))

    def _click(self, image: int, number: int) -> simpy.events.ProcessGenerator:
        """As `RaySegmenter` has it: an image that no replica has answered for is prepared first."""
        if image not in self._prepared:
            with self._preparing.request() as place:
                yield place
                yield from self._ask(image, clicks=0)
            self._prepared.add(image)
        with self._computing.request() as turn:
            yield turn
            yield from self._ask(image, number)

    def _ask(self, image: int, clicks: int) -> simpy.events.ProcessGenerator:
        number = self._router.choose(image)
        hands, replica = self._replicas[number]
        yield self._world.timeout(self._times.draw(Part.HAND_OVER, self._rng))
        with hands.request() as turn:
            yield turn
            tier, seconds = replica.segment(image, clicks) if clicks else replica.prepare(image)
            yield self._world.timeout(seconds)
        self._router.give_back(number)
        self._outcome.found[tier] += 1
        self._outcome.busy_seconds += seconds
