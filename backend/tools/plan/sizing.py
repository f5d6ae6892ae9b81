"""The fewest replicas with which annotators wait no longer than they should."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from backend.tools.plan.annotators import Workload, draw_visits
from backend.tools.plan.replica_model import Budgets
from backend.tools.plan.service_times import Part, ServiceTimes
from backend.tools.plan.simulation import Cluster, Outcome, simulate
from m2n2_engine.errors import ConfigurationError

_COMPUTING_CLICKS = 4
"""For each replica, as docs/operate/ray.md has it."""

_STEP = 1.1
_TOLERANCE = 1 / 20
"""Of the number of replicas."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """workload: of each number of annotators, whatever its own. p95_seconds: that 95 of 100 clicks may take."""

    workload: Workload
    times: ServiceTimes
    budgets: Budgets
    is_disk_shared: bool
    p95_seconds: float
    seed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """replicas: the fewest that were found enough, up to a twentieth of them more. outcome: with so many."""

    annotators: int
    replicas: int
    outcome: Outcome

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the clicks take at most."""
        return measure_percentile(self.outcome, percent)

    @property
    def busy_share(self) -> float:
        """0 to 1, of the replicas' time."""
        return self.outcome.busy_seconds / (self.outcome.wall_seconds * self.replicas)


def measure_percentile(outcome: Outcome, percent: float) -> float:
    """Seconds that so many percent of the clicks take at most."""
    return float(np.percentile([click.seconds for click in outcome.clicks], percent))


def find_replicas(question: Question, annotators: Sequence[int]) -> Iterator[Answer]:
    """For each number of annotators, in this order. Raises ConfigurationError where one each is not enough."""
    share = estimate_busy_share(question)
    for count in annotators:
        answer = _search(count, max(1, round(count * share)), _ask(question, count), question.p95_seconds)
        # From where the last search ended: the ratio changes slowly.
        share = answer.replicas / count
        yield answer


def estimate_busy_share(question: Question) -> float:
    """Replicas that one annotator keeps busy where she never waits: where the search begins."""
    seconds, workload = question.times.seconds, question.workload
    clicks = seconds[Part.FIRST_CLICK].mean + (workload.clicks - 1) * seconds[Part.NEXT_CLICK].mean
    work = seconds[Part.PREPARATION].mean / workload.rounds + clicks
    return work / (work + workload.clicks * workload.think_seconds)


def _ask(question: Question, annotators: int) -> Callable[[int], Outcome]:
    workload = dataclasses.replace(question.workload, annotators=annotators)
    visits = [draw_visits(workload, annotator, question.seed) for annotator in range(annotators)]

    def ask(replicas: int) -> Outcome:
        cluster = Cluster(
            replicas, question.budgets, _COMPUTING_CLICKS * replicas, is_disk_shared=question.is_disk_shared
        )
        return simulate(visits, cluster, question.times, question.seed)

    return ask


def _search(annotators: int, start: int, ask: Callable[[int], Outcome], p95_seconds: float) -> Answer:
    """From the start in growing steps to where it changes, and halving from there."""
    outcomes: dict[int, Outcome] = {}

    def is_enough(replicas: int) -> bool:
        if replicas not in outcomes:
            outcomes[replicas] = ask(replicas)
        return measure_percentile(outcomes[replicas], 95) <= p95_seconds

    least = most = min(start, annotators)
    while not is_enough(most):
        if most == annotators:
            raise ConfigurationError(
                f"with as many replicas as annotators, {annotators}, the p95 is still "
                f"{measure_percentile(outcomes[most], 95):.2f} s, more than {p95_seconds:g} s: allow more, or take "
                "faster replicas"
            )
        least, most = most, min(annotators, math.ceil(most * _STEP))
    while least > 0 and is_enough(least):
        least, most = math.floor(least / _STEP), least
    while most - least > max(1, most * _TOLERANCE):
        middle = (least + most) // 2
        least, most = (least, middle) if is_enough(middle) else (middle, most)
    return Answer(annotators, most, outcomes[most])
