"""Pictures that nobody has clicked on yet have a tenth of a busy server's time, and no more."""

from __future__ import annotations

import random

import pytest

from backend.scheduling.share import Share


class Clock:
    """Stands still until it is moved; in seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_moment_without_clicks_is_waited_for_first(clock):
    share = Share(clock, patience_seconds=2)
    share.begin_waiting()
    assert share.remaining_seconds == 2
    clock.now += 2
    assert share.remaining_seconds == 0


def test_a_picture_is_followed_by_nine_times_as_long_without_one(clock):
    share = Share(clock, share=0.1, patience_seconds=0)
    share.use(1.7)
    share.begin_waiting()
    assert share.remaining_seconds == pytest.approx(15.3)
    clock.now += 16
    assert share.remaining_seconds < 0


def test_one_that_was_kept_already_costs_nothing(clock):
    share = Share(clock, patience_seconds=0)
    share.use(0)
    share.begin_waiting()
    assert share.remaining_seconds == 0


@pytest.mark.parametrize("seed", range(5))
def test_clicks_that_never_pause_are_delayed_by_a_tenth_at_most(clock, seed):
    """Each picture doubles the time of the clicks beside it."""
    rng, share, start, preparing = random.Random(seed), Share(clock), clock.now, 0.0
    for _ in range(200):
        share.begin_waiting()
        clock.now += max(0.0, share.remaining_seconds)
        seconds = rng.uniform(0.05, 4)
        clock.now += seconds
        preparing += seconds
        share.use(seconds)
    clock.now += max(0.0, share.remaining_seconds)
    assert preparing / (clock.now - start) <= 0.1 + 1e-9
    # And it takes what it has, but for the moments that it waits for one without clicks.
    assert preparing / (clock.now - start) > 0.05
