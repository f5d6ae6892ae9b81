from __future__ import annotations

import random
import statistics

import pytest

from backend.tools.plan.annotators import Visit, Workload, draw_visits
from backend.tools.plan.simulation import Cluster, simulate
from m2n2_engine.types import Tier

HAND_OVER = 0.25


def simulate_one(visits, times, roomy, replicas=1, computing=4):
    return simulate(visits, Cluster(replicas, roomy, computing), times, seed=1)


def test_a_click_alone_takes_its_parts(times, roomy):
    outcome = simulate_one([[Visit(1, [3.0, 3.0]), Visit(2, [3.0]), Visit(1, [3.0])]], times, roomy)
    seconds = [click.seconds for click in outcome.clicks]
    first = 2 * HAND_OVER + 16.0 + 2.0
    assert seconds == [first, HAND_OVER + 1.0, first, HAND_OVER + 2.0]
    assert [click.number for click in outcome.clicks] == [1, 2, 1, 1]
    assert outcome.found == {Tier.NETWORK: 2, Tier.DEVICE: 4}
    assert outcome.busy_seconds == 2 * 16.0 + 3 * 2.0 + 1.0
    assert outcome.wall_seconds == sum(seconds) + 4 * 3.0


def test_two_images_wait_for_one_network_and_not_for_two(times, roomy):
    visits = [[Visit(1, [0.0])], [Visit(2, [0.0])]]
    alone = 2 * HAND_OVER + 16.0 + 2.0
    assert [click.seconds for click in simulate_one(visits, times, roomy, 2).clicks] == [alone, alone]
    first, second = (click.seconds for click in simulate_one(visits, times, roomy).clicks)
    assert alone <= first < second
    assert second > 2 * 16.0


def test_a_click_on_a_ready_image_does_not_wait_for_a_network(times, roomy):
    """Its replica is busy with one image at most, however many others are to be prepared."""
    visits = [[Visit(0, [0.0, 17.0])], *([Visit(image, [20.0])] for image in range(1, 9))]
    outcome = simulate_one(visits, times, roomy)
    (second,) = (click.seconds for click in outcome.clicks if click.number == 2)
    assert second <= HAND_OVER + 16.0 + 1.0


def test_the_server_has_so_many_clicks_computed_at_a_time(times, roomy):
    visits = [[Visit(image, [100.0 * image, 1000.0 - 100.0 * image])] for image in range(3)]
    wide, narrow = (
        sum(click.seconds for click in simulate_one(visits, times, roomy, 3, computing).clicks) for computing in (3, 1)
    )
    assert narrow > wide


def test_the_same_seed_gives_the_same(make_times, roomy):
    times = make_times(PREPARATION=[1.0, 2.0, 3.0], NEXT_CLICK=[0.1, 0.2, 0.3])
    visits = [draw_visits(Workload(4, 3, 2, 3, 1.0), annotator, seed=1) for annotator in range(4)]
    cluster = Cluster(2, roomy, 8)
    assert simulate(visits, cluster, times, 1) == simulate(visits, cluster, times, 1)
    assert simulate(visits, cluster, times, 1) != simulate(visits, cluster, times, 2)


@pytest.mark.parametrize("annotators", [1, 4, 8])
def test_waiting_is_what_theory_says_of_one_replica(make_times, roomy, annotators):
    """Exponential times of thinking and working at one server: the answer's mean is known exactly."""
    work_seconds, think_seconds = 0.5, 2.0
    rng = random.Random(1)
    drawn = [rng.expovariate(1 / work_seconds) for _ in range(20_000)]
    times = make_times(PREPARATION=[1e-9], HAND_OVER=[1e-9], FIRST_CLICK=drawn, NEXT_CLICK=drawn)
    workload = Workload(annotators, images=400, rounds=1, clicks=10, think_seconds=think_seconds)
    visits = [draw_visits(workload, annotator, seed=1) for annotator in range(annotators)]
    outcome = simulate(visits, Cluster(1, roomy, computing=annotators, hands=annotators), times, 1)
    measured = statistics.fmean(click.seconds for click in outcome.clicks)
    assert measured == pytest.approx(find_mean_answer(annotators, statistics.fmean(drawn), think_seconds), rel=0.04)


def find_mean_answer(annotators: int, work_seconds: float, think_seconds: float) -> float:
    """Mean value analysis: who arrives finds the line that one annotator fewer would have made."""
    line = 0.0
    for count in range(1, annotators + 1):
        seconds = work_seconds * (1 + line)
        line = count * seconds / (seconds + think_seconds)
    return seconds
