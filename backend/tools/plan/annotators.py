"""What annotators do: which image each of them clicks on, and how long she thinks before each click."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """annotators: at the same time, none on another's images. images: of each; she goes through them ``rounds`` times,
    each time in an order of its own. clicks: on an image, each time. think_seconds: between an answer and her next
    click, in the mean; exponentially distributed."""

    annotators: int
    images: int
    rounds: int
    clicks: int
    think_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """An image opened and clicked on. image: a number that no image of another annotator has. think_seconds: before
    each of the clicks."""

    image: int
    think_seconds: Sequence[float]


def draw_visits(workload: Workload, annotator: int, seed: int) -> list[Visit]:
    """All that one annotator does, from the start; the same for the same seed, whatever others do.

    Each begins somewhere in the time that a visit takes without waiting, so that not all open an image at once.
    """
    rng = random.Random(f"{seed} {annotator}")
    offset_seconds = rng.uniform(0, workload.clicks * workload.think_seconds)
    visits = []
    for _ in range(workload.rounds):
        for number in rng.sample(range(workload.images), workload.images):
            thinks = [rng.expovariate(1 / workload.think_seconds) for _ in range(workload.clicks)]
            visits.append(Visit(annotator * workload.images + number, thinks))
    first = visits[0]
    visits[0] = Visit(first.image, [first.think_seconds[0] + offset_seconds, *first.think_seconds[1:]])
    return visits
