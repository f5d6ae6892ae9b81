from __future__ import annotations

import collections
import dataclasses
import statistics

import pytest

from backend.tools.plan.annotators import Workload, draw_visits

WORKLOAD = Workload(annotators=3, images=4, rounds=2, clicks=500, think_seconds=2.0)


def test_each_round_goes_through_all_images_of_the_annotator_and_no_others():
    visits = [draw_visits(WORKLOAD, annotator, seed=1) for annotator in range(3)]
    for annotator, own in enumerate(visits):
        images = [visit.image for visit in own]
        expected = list(range(4 * annotator, 4 * annotator + 4))
        assert sorted(images[:4]) == sorted(images[4:]) == expected


def test_the_orders_of_the_rounds_differ():
    orders = collections.Counter(
        tuple(visit.image for visit in draw_visits(WORKLOAD, 0, seed)[:4]) for seed in range(20)
    )
    assert len(orders) > 5


def test_thinking_takes_its_mean_and_the_first_annotators_do_not_begin_together():
    visits = [draw_visits(WORKLOAD, annotator, seed=1) for annotator in range(3)]
    later = [seconds for own in visits for visit in own[1:] for seconds in visit.think_seconds]
    assert statistics.fmean(later) == pytest.approx(2.0, rel=0.03)
    beginnings = [own[0].think_seconds[0] for own in visits]
    assert max(beginnings) - min(beginnings) > 10


def test_what_an_annotator_does_depends_on_the_seed_and_not_on_the_others():
    more = dataclasses.replace(WORKLOAD, annotators=30)
    assert draw_visits(WORKLOAD, 2, seed=1) == draw_visits(more, 2, seed=1)
    assert draw_visits(WORKLOAD, 2, seed=1) != draw_visits(WORKLOAD, 2, seed=2)
