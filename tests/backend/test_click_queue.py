"""The line of clicks, with threads that stop where the test tells them to."""

from __future__ import annotations

import contextlib
import threading

import pytest

from backend.click_queue import Chain, ClickQueue, Obsolete
from m2n2_engine.errors import Busy

CAT = Chain("1.5", "1", "Cat", "first")
DOG = Chain("1.5", "1", "Dog", "first")
DEADLINE_SECONDS = 10


class Annotator:
    """One click in a thread of its own: joins at once, computes until it is told to go on."""

    def __init__(self, queue, chain=None):
        self.queue = queue
        self.chain = chain
        self.outcome = None
        self.joined = threading.Event()
        self.started = threading.Event()
        self.go = threading.Event()
        self.thread = threading.Thread(target=self._click)
        self.thread.start()
        assert self.joined.wait(DEADLINE_SECONDS)

    def _click(self):
        try:
            with self.queue.join(self.chain) as ticket:
                self.joined.set()
                with self.queue.turn(ticket):
                    self.started.set()
                    assert self.go.wait(DEADLINE_SECONDS)
            self.outcome = "computed"
        except Obsolete:
            self.outcome = "obsolete"
        except Busy as error:
            self.outcome = str(error)

    def finish(self):
        self.go.set()
        return self.leave()

    def leave(self):
        self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive()
        return self.outcome


def wait_for(queue, **expected):
    """Until the statistics are these; every change of the line is announced."""
    with queue._changed:
        assert queue._changed.wait_for(
            lambda: (len(queue._waiting), len(queue._computing)) == (expected["waiting"], expected["computing"]),
            DEADLINE_SECONDS,
        )


def test_places_are_given_and_given_back():
    queue = ClickQueue(places=2, computing=1)
    with queue.admit(), queue.admit():
        assert queue.statistics.admitted == 2
        with (
            pytest.raises(Busy, match="2 predictions are under way: try again, or raise M2N2_SERVER_THREADS"),
            queue.admit(),
        ):
            pass
    assert (queue.statistics.admitted, queue.statistics.refused) == (0, 1)
    with queue.admit():
        pass


def test_a_place_is_given_back_by_a_prediction_that_fails():
    queue = ClickQueue(places=1, computing=1)
    for _ in range(2):
        with pytest.raises(RuntimeError), queue.admit():
            raise RuntimeError
    assert queue.statistics.admitted == 0


def test_as_many_compute_as_may_and_the_others_wait_in_order():
    queue = ClickQueue(places=9, computing=2)
    clicks = []
    for waiting, computing in [(0, 1), (0, 2), (1, 2), (2, 2)]:
        clicks.append(Annotator(queue))
        wait_for(queue, waiting=waiting, computing=computing)
    assert [click.started.is_set() for click in clicks] == [True, True, False, False]
    assert clicks[1].finish() == "computed"
    assert clicks[2].started.wait(DEADLINE_SECONDS)
    assert not clicks[3].started.is_set()
    assert [click.finish() for click in (clicks[0], clicks[2], clicks[3])] == ["computed"] * 3
    assert (queue.statistics.waiting, queue.statistics.computing, queue.statistics.obsolete) == (0, 0, 0)


def test_a_newer_click_of_the_chain_drops_those_that_wait_but_not_the_one_computing():
    queue = ClickQueue(places=9, computing=4)
    first = Annotator(queue, CAT)
    wait_for(queue, waiting=0, computing=1)
    second = Annotator(queue, CAT)
    wait_for(queue, waiting=1, computing=1)
    third = Annotator(queue, CAT)
    assert second.leave() == "obsolete"
    assert not second.started.is_set()
    wait_for(queue, waiting=1, computing=1)
    assert first.finish() == "computed"
    assert third.finish() == "computed"
    assert queue.statistics.obsolete == 1
    assert queue._newest == {}


def test_a_click_overtaken_before_it_is_in_line_is_dropped_too():
    queue = ClickQueue(places=9, computing=4)
    with queue.join(CAT) as older, queue.join(CAT) as newer:
        with pytest.raises(Obsolete), queue.turn(older):
            pass
        with queue.turn(newer):
            pass
    assert queue._newest == {}


def test_other_chains_and_clicks_without_one_do_not_drop_each_other():
    queue = ClickQueue(places=9, computing=1)
    clicks = []
    for waiting, chain in enumerate([CAT, DOG, None, None]):
        clicks.append(Annotator(queue, chain))
        wait_for(queue, waiting=waiting, computing=1)
    assert [click.finish() for click in clicks] == ["computed"] * 4


def test_a_click_behind_one_of_a_busy_chain_goes_first():
    queue = ClickQueue(places=9, computing=2)
    first = Annotator(queue, CAT)
    wait_for(queue, waiting=0, computing=1)
    second = Annotator(queue, CAT)
    wait_for(queue, waiting=1, computing=1)
    other = Annotator(queue, DOG)
    assert other.started.wait(DEADLINE_SECONDS)
    assert not second.started.is_set()
    assert [click.finish() for click in (first, other, second)] == ["computed"] * 3


def test_a_turn_is_given_back_by_a_computation_that_fails():
    queue = ClickQueue(places=9, computing=1)
    for _ in range(2):
        with pytest.raises(RuntimeError), queue.join(CAT) as ticket, queue.turn(ticket):
            raise RuntimeError
    assert (queue.statistics.computing, queue._newest) == (0, {})


def test_a_click_whose_turn_does_not_come_is_refused():
    queue = ClickQueue(places=9, computing=1, longest_wait_seconds=0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(queue.turn(stack.enter_context(queue.join(CAT))))
        with pytest.raises(Busy, match="no turn within 0 s"), queue.join(DOG) as ticket, queue.turn(ticket):
            pass
    assert (queue.statistics.waiting, queue.statistics.refused) == (0, 1)
