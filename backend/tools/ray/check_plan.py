"""``make ray-plan``: the simulation of ``backend.tools.plan`` against two replicas of this machine, click for click.

What the clicks of one half of the annotators took predicts those of the other half, and the other way round; nothing is
fitted. Writes both sides, and the measured times for ``m2n2 plan``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve
from rich.table import Table

from backend.engines.ray_cluster import RayCluster, connect
from backend.engines.ray_segmenter import RaySegmenter
from backend.settings import load_settings
from backend.tools.plan.annotators import Visit, Workload, draw_visits
from backend.tools.plan.replica_model import read_budgets
from backend.tools.plan.service_times import ImageBytes, Measured, Part, ServiceTimes
from backend.tools.plan.simulation import Cluster, Outcome, simulate
from backend.tools.ray.replay import SIZE, Parts, draw_picture, replay
from backend.tools.ray.replicas import deploy, start_cluster
from backend.tools.ray.timed_replica import TimedReplica
from m2n2_engine.tools.benchmark.files import write_json
from m2n2_engine.tools.benchmark.machine import describe_run
from m2n2_engine.tools.context import output
from m2n2_engine.types import Click, Tier

REPLICAS = 2
WORKLOAD = Workload(annotators=6, images=12, rounds=2, clicks=4, think_seconds=2.0)
SETTINGS = {
    # Smaller than the default: twice as many clicks in the same minutes.
    "M2N2_GRID": "32",
    # Of a replica's 36 images about 27 as sessions, the features of 31 in the host's memory, and of all on the disk:
    # opened again in another order, some are found at each tier.
    "M2N2_SESSION_CACHE_MIB": "580",
    "M2N2_HOST_CACHE_MIB": "47",
}
_APP = "plan"
_COMPUTING_CLICKS = 4 * REPLICAS
_SEED = 20261127
# Simulations of each half: the luck of one draw is not the model's.
_DRAWS = 10
_PROBED_CLICKS = 4
_FACTS = ("backbone", "preset", "device", "grid", "threads", "replicas")


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """seconds: of clicks, by name. found: share of all images looked for, 0 to 1, by tier."""

    seconds: Mapping[str, float]
    found: Mapping[Tier, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """times: all that was measured. facts: of the engines. load: of the machine, before and after, in processes."""

    measured: Figures
    simulated: Figures
    times: ServiceTimes
    facts: Mapping[str, Any]
    load: tuple[float, float]

    def ratios(self) -> Mapping[str, float]:
        """Simulated by measured, of the p95 of all clicks and of the hit rate on the device."""
        p95 = self.simulated.seconds["p95"] / self.measured.seconds["p95"]
        return {"p95": p95, "hit rate": self.simulated.found[Tier.DEVICE] / self.measured.found[Tier.DEVICE]}


def compare(address: str) -> Comparison:
    """Some minutes of clicks on replicas of their own, and the same clicks simulated. address: of a cluster that has
    two processors for them."""
    visits = [draw_visits(WORKLOAD, annotator, _SEED) for annotator in range(WORKLOAD.annotators)]
    with _serve(address) as cluster:
        image_bytes, facts = _probe(cluster)
        before, _, _ = os.getloadavg()
        played = replay(cluster, visits, _COMPUTING_CLICKS)
        after, _, _ = os.getloadavg()
    halves = [_pool(played.parts[parity::2]) for parity in range(2)]
    predicted = [_simulate(visits, _make_times(halves[1 - parity], image_bytes, facts), parity) for parity in range(2)]
    simulated = [outcome for outcomes in predicted for outcome in outcomes]
    times = _make_times(_pool(played.parts), image_bytes, facts)
    return Comparison(_summarise([played.outcome]), _summarise(simulated), times, facts, (before, after))


@contextlib.contextmanager
def _serve(address: str) -> Iterator[RayCluster]:
    with tempfile.TemporaryDirectory() as folder:
        # Nothing of the environment: an empty value is one that is not set.
        unset = {name: "" for name in os.environ if name.startswith("M2N2_")}
        settings = {**unset, **SETTINGS, "M2N2_DISK_CACHE_FOLDER": folder}
        deploy(REPLICAS, 1, _APP, settings, func_or_class=TimedReplica)
        try:
            yield connect(address, _APP)
        finally:
            # Others may want its processors.
            serve.delete(_APP)


def _probe(cluster: RayCluster) -> tuple[ImageBytes, Mapping[str, Any]]:
    """Room that an image takes, and the facts of the engines. Leaves one image of nobody's with a replica."""
    segmenter = RaySegmenter(cluster, status_seconds=0)
    picture = draw_picture(WORKLOAD.annotators * WORKLOAD.images)
    segmenter.prepare(picture)
    prepared = segmenter.status()
    segmenter.segment(picture, [Click(40.0 * number, 40.0 * number) for number in range(1, _PROBED_CLICKS + 1)])
    growth = segmenter.status().tiers[Tier.DEVICE].bytes - prepared.tiers[Tier.DEVICE].bytes
    measured = {tier: prepared.tiers[tier].bytes for tier in (Tier.DEVICE, Tier.HOST, Tier.DISK)}
    image_bytes = ImageBytes(source="status of the replicas", click=growth // _PROBED_CLICKS, **measured)
    return image_bytes, {name: getattr(prepared, name) for name in _FACTS}


def _pool(parts: Sequence[Parts]) -> Parts:
    return {part: [seconds for own in parts for seconds in own[part]] for part in Part}


def _make_times(parts: Parts, image_bytes: ImageBytes, facts: Mapping[str, Any]) -> ServiceTimes:
    run = describe_run(1)
    source = f"make ray-plan, {run['date']}: {REPLICAS} replicas with one processor each, under load"
    size = f"{SIZE[1]}x{SIZE[0]}"
    return ServiceTimes(
        machine=f"{run['processor']}: {facts['backbone']}, grid {facts['grid']}, {facts['preset']}, {size}",
        seconds={
            part: Measured(source=source, values=tuple(round(value, 5) for value in values))
            for part, values in parts.items()
        },
        bytes=image_bytes,
    )


def _simulate(visits: Sequence[Sequence[Visit]], times: ServiceTimes, parity: int) -> list[Outcome]:
    """The clicks of every other annotator, the first of whom is this one; everybody clicks."""
    cluster = Cluster(REPLICAS, read_budgets(load_settings(SETTINGS)), _COMPUTING_CLICKS)
    outcomes = [simulate(visits, cluster, times, seed) for seed in range(_DRAWS)]
    for outcome in outcomes:
        outcome.clicks = [click for click in outcome.clicks if click.annotator % 2 == parity]
    return outcomes


def _summarise(outcomes: Sequence[Outcome]) -> Figures:
    clicks = [click for outcome in outcomes for click in outcome.clicks]
    seconds = [click.seconds for click in clicks]
    first = [click.seconds for click in clicks if click.number == 1]
    following = [click.seconds for click in clicks if click.number > 1]
    found = {tier: float(np.mean([outcome.share(tier) for outcome in outcomes])) for tier in Tier}
    figures = {
        "median": np.percentile(seconds, 50),
        "mean": np.mean(seconds),
        "p95": np.percentile(seconds, 95),
        "p95 of first clicks": np.percentile(first, 95),
        "p95 of next clicks": np.percentile(following, 95),
    }
    return Figures({name: float(value) for name, value in figures.items()}, found)


def print_comparison(comparison: Comparison) -> None:
    """Both sides in one table."""
    table = Table("", "measured", "simulated", "ratio", box=None)
    measured, simulated = comparison.measured, comparison.simulated
    for name, seconds in measured.seconds.items():
        table.add_row(f"{name}, s", *_render(seconds, simulated.seconds[name], ".3f"))
    for tier, share in measured.found.items():
        table.add_row(f"found: {tier}", *_render(share, simulated.found[tier], ".1%"))
    output.print(table)


def _render(measured: float, simulated: float, form: str) -> tuple[str, str, str]:
    ratio = f"{simulated / measured:.2f}" if measured else ""
    return f"{measured:{form}}", f"{simulated:{form}}", ratio


def to_json(comparison: Comparison) -> dict[str, Any]:
    """For the record; seconds, and shares of 1."""
    return {
        "run": {**describe_run(1), "command": "make ray-plan"},
        "facts": comparison.facts,
        "load": comparison.load,
        "settings": SETTINGS,
        "replicas": REPLICAS,
        "workload": dataclasses.asdict(WORKLOAD),
        "measured": dataclasses.asdict(comparison.measured),
        "simulated": dataclasses.asdict(comparison.simulated),
        "ratios": comparison.ratios(),
    }


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("out/ray/plan_check.json"), help="for both sides")
    parser.add_argument("--times", type=Path, default=Path("out/ray/replicas.json"), help="for the measured times")
    arguments = parser.parse_args()
    with start_cluster(REPLICAS) as address:
        comparison = compare(address)
    print_comparison(comparison)
    write_json(arguments.json, to_json(comparison))
    write_json(arguments.times, comparison.times.model_dump(mode="json"))


if __name__ == "__main__":
    main()
