"""The simulation of ``m2n2 plan`` against two replicas of this machine: some minutes of clicks."""

from __future__ import annotations

from backend.tools.plan.service_times import Part
from backend.tools.ray.check_plan import WORKLOAD, compare, print_comparison
from m2n2_engine.types import Tier

LARGEST_DEVIATION = 0.2


def test_the_simulation_foresees_what_two_replicas_do(address: str) -> None:
    comparison = compare(address)
    print_comparison(comparison)
    images = WORKLOAD.annotators * WORKLOAD.images
    clicks = images * WORKLOAD.rounds * WORKLOAD.clicks
    # Each click once, and each new image once to prepare it.
    assert len(comparison.times.seconds[Part.HAND_OVER].values) == clicks + images
    assert all(comparison.measured.found[tier] > 0 for tier in Tier)
    for name, ratio in comparison.ratios().items():
        assert abs(ratio - 1) <= LARGEST_DEVIATION, name
