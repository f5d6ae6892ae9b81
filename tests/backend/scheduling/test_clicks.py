"""The queue of clicks, with threads that stop where the test tells them to."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import threading
import time

import numpy as np
import pytest

from backend.engines.background import LoadedEngine
from backend.errors import Busy
from backend.http.request import RequestRecord
from backend.images.cache import PictureCache
from backend.scheduling.clicks import ClickQueue, ClickService, ObjectKey, Obsolete, Ticket
from m2n2_engine.types import Deadline, Picture

CAT = ObjectKey("1.5", "1", "Cat", "first")
DOG = ObjectKey("1.5", "1", "Dog", "first")
DEADLINE_SECONDS = 10


def draw(value):
    return Picture.of(np.full((2, 3, 3), value, np.uint8))


def join(queue, object_key=None, deadline=None):
    return queue.join(object_key, RequestRecord(deadline=deadline or Deadline.after(DEADLINE_SECONDS)))


class ClickThread:
    """One click in a thread of its own, which goes on to its end when it is told to.

    enter: the places of the queue that it goes into, one inside the other, given the queue and its ticket.
    """

    def __init__(self, queue, *enter, object_key=None):
        self.outcome = None
        self.joined = threading.Event()
        self.started = threading.Event()
        self.go = threading.Event()
        self.thread = threading.Thread(target=self._click, args=(queue, enter, object_key))
        self.thread.start()
        assert self.joined.wait(DEADLINE_SECONDS)

    def _click(self, queue, enter, object_key):
        try:
            with join(queue, object_key) as ticket, contextlib.ExitStack() as places:
                self.joined.set()
                for place in enter:
                    places.enter_context(place(queue, ticket))
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


def computing(queue, ticket):
    return queue.computing(ticket)


def network(queue, ticket):
    return queue.network(ticket)


def claim(picture):
    return lambda queue, ticket: queue.claim(ticket, picture)


def wait_for(queue, **expected):
    """Until the statistics are these."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while any(getattr(queue.statistics, name) != value for name, value in expected.items()):
        assert time.monotonic() < deadline, queue.statistics


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
    for waiting, inside in [(0, 1), (0, 2), (1, 2), (2, 2)]:
        clicks.append(ClickThread(queue, computing))
        wait_for(queue, waiting=waiting, computing=inside)
    assert [click.started.is_set() for click in clicks] == [True, True, False, False]
    assert clicks[1].finish() == "computed"
    assert clicks[2].started.wait(DEADLINE_SECONDS)
    assert not clicks[3].started.is_set()
    assert [click.finish() for click in (clicks[0], clicks[2], clicks[3])] == ["computed"] * 3
    assert (queue.statistics.waiting, queue.statistics.computing, queue.statistics.obsolete) == (0, 0, 0)


def test_a_newer_click_on_the_object_drops_those_that_wait_but_not_the_one_computing():
    queue = ClickQueue(places=9, computing=4)
    first = ClickThread(queue, computing, object_key=CAT)
    wait_for(queue, waiting=0, computing=1)
    second = ClickThread(queue, computing, object_key=CAT)
    wait_for(queue, waiting=1, computing=1)
    third = ClickThread(queue, computing, object_key=CAT)
    assert second.leave() == "obsolete"
    assert not second.started.is_set()
    wait_for(queue, waiting=1, computing=1)
    assert first.finish() == "computed"
    assert third.finish() == "computed"
    assert queue.statistics.obsolete == 1


def test_a_click_overtaken_before_it_waits_is_dropped_too():
    queue = ClickQueue(places=9, computing=4)
    with join(queue, CAT) as older, join(queue, CAT) as newer:
        with pytest.raises(Obsolete), queue.computing(older):
            pass
        with queue.computing(newer):
            pass
    with join(queue, CAT) as later, queue.computing(later):
        pass


def test_other_objects_and_clicks_without_one_do_not_drop_each_other():
    queue = ClickQueue(places=9, computing=1)
    clicks = []
    for waiting, object_key in enumerate([CAT, DOG, None, None]):
        clicks.append(ClickThread(queue, computing, object_key=object_key))
        wait_for(queue, waiting=waiting, computing=1)
    assert [click.finish() for click in clicks] == ["computed"] * 4


def test_a_click_behind_one_of_a_busy_object_goes_first():
    queue = ClickQueue(places=9, computing=2)
    first = ClickThread(queue, computing, object_key=CAT)
    wait_for(queue, waiting=0, computing=1)
    second = ClickThread(queue, computing, object_key=CAT)
    wait_for(queue, waiting=1, computing=1)
    other = ClickThread(queue, computing, object_key=DOG)
    assert other.started.wait(DEADLINE_SECONDS)
    assert not second.started.is_set()
    assert [click.finish() for click in (first, other, second)] == ["computed"] * 3


def test_a_turn_is_given_back_by_a_computation_that_fails():
    queue = ClickQueue(places=9, computing=1)
    for _ in range(2):
        with pytest.raises(RuntimeError), join(queue, CAT) as ticket, queue.computing(ticket):
            raise RuntimeError
    assert queue.statistics.computing == 0


@pytest.mark.parametrize("place", [computing, network, claim(draw(0))])
def test_a_click_whose_turn_does_not_come_before_its_deadline_is_refused(place):
    queue = ClickQueue(places=9, computing=1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(place(queue, stack.enter_context(join(queue, CAT))))
        late = stack.enter_context(join(queue, DOG, Deadline.after(0)))
        with pytest.raises(Busy, match="no turn came in time"), place(queue, late):
            pass
    assert (queue.statistics.waiting, queue.statistics.unprepared, queue.statistics.refused) == (0, 0, 1)


def test_waiting_is_measured():
    record = RequestRecord(deadline=Deadline.after(DEADLINE_SECONDS))
    queue = ClickQueue(places=9, computing=1)
    with queue.join(None, record) as ticket, queue.computing(ticket):
        assert record.seconds["wait"] >= 0


def begin_preparing(queue, *values, **options):
    """Threads that claim these pictures and want the network, the first in it and the others before it, in order."""
    threads = []
    for waiting, value in enumerate(values):
        threads.append(ClickThread(queue, claim(draw(value)), network, **options))
        wait_for(queue, unprepared=waiting, preparing=1)
    return threads


def test_pictures_pass_the_network_one_at_a_time_in_order_and_clicks_on_others_are_not_held_up():
    queue = ClickQueue(places=9, computing=1)
    threads = begin_preparing(queue, 1, 2, 3)
    with join(queue, DOG) as ticket, queue.claim(ticket, draw(9)), queue.computing(ticket):
        pass
    for first, second in itertools.pairwise(threads):
        assert not second.started.is_set()
        assert first.finish()
        assert second.started.wait(DEADLINE_SECONDS)
    assert threads[-1].finish()
    assert (queue.statistics.unprepared, queue.statistics.preparing) == (0, 0)


def test_who_claims_the_same_picture_is_let_go_as_soon_as_it_is_prepared():
    queue = ClickQueue(places=9, computing=1)
    first = ClickThread(queue, claim(draw(1)), network)
    wait_for(queue, unprepared=0, preparing=1)
    other = ClickThread(queue, claim(draw(2)), network)
    wait_for(queue, unprepared=1, preparing=1)
    # It finds the picture and wants no network.
    same = ClickThread(queue, claim(draw(1)))
    wait_for(queue, unprepared=2, preparing=1)
    assert not same.started.is_set()
    same.go.set()
    assert first.finish()
    assert same.leave() == "computed"
    assert other.finish() == "computed"


def test_as_many_pictures_are_prepared_as_the_engine_has_networks_at_the_time():
    networks = 2
    queue = ClickQueue(places=9, computing=1, count_networks=lambda: networks)
    first, second, third = (ClickThread(queue, claim(draw(value)), network) for value in range(3))
    wait_for(queue, preparing=2, unprepared=1)
    networks = 3
    # Who waits looks again with the next change of the queue.
    with join(queue):
        pass
    wait_for(queue, preparing=3, unprepared=0)
    assert all([first.finish(), second.finish(), third.finish()])


def test_a_free_network_is_not_for_a_picture_that_is_in_preparation():
    queue = ClickQueue(places=9, computing=1, count_networks=lambda: 2)
    first = ClickThread(queue, claim(draw(1)), network)
    wait_for(queue, preparing=1, unprepared=0)
    same = ClickThread(queue, claim(draw(1)), network)
    wait_for(queue, preparing=1, unprepared=1)
    other = ClickThread(queue, claim(draw(2)), network)
    wait_for(queue, preparing=2, unprepared=1)
    assert not same.started.is_set()
    assert [click.finish() for click in (first, same, other)] == ["computed"] * 3


def test_a_click_that_waits_to_prepare_is_dropped_by_a_newer_one_on_its_object():
    queue = ClickQueue(places=9, computing=4)
    (first,) = begin_preparing(queue, 1, object_key=DOG)
    older = [
        ClickThread(queue, claim(draw(2)), network, object_key=CAT),
        ClickThread(queue, claim(draw(1)), object_key=ObjectKey("1.5", "1", "Cow", "first")),
    ]
    wait_for(queue, unprepared=2, preparing=1)
    with join(queue, CAT), join(queue, ObjectKey("1.5", "1", "Cow", "first")):
        assert [click.leave() for click in older] == ["obsolete"] * 2
    assert queue.statistics.obsolete == 2
    first.finish()


def test_nobody_is_idle_while_a_click_is_under_way_or_a_picture_passes_the_network():
    queue = ClickQueue(places=9, computing=2)
    idle = threading.Thread(target=queue.wait_until_idle)
    with join(queue, CAT) as cat:  # still fetching its image
        idle.start()
        with queue.claim(cat, draw(1)), queue.network(cat):
            idle.join(0)
            assert idle.is_alive()
        with queue.computing(cat):
            idle.join(0)
            assert idle.is_alive()
    idle.join(DEADLINE_SECONDS)
    assert not idle.is_alive()


def test_the_queue_asks_the_engine_how_many_pictures_it_prepares_at_once(segmenter):
    segmenter.networks = 2
    gate = threading.Barrier(3)
    segmenter.before_prepare = lambda picture: gate.wait(DEADLINE_SECONDS)
    queue = ClickQueue(places=9, computing=1)
    service = ClickService(LoadedEngine(segmenter), PictureCache(0, 0, None, None), queue)

    def prepare(value):
        with join(queue) as ticket:
            service.prepare(draw(value), ticket)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(prepare, value) for value in range(2)]
        wait_for(queue, preparing=2)
        gate.wait(DEADLINE_SECONDS)
        for one in both:
            one.result(DEADLINE_SECONDS)


def test_each_step_of_proposals_waits_for_clicks_and_not_for_ever(segmenter):
    queue = ClickQueue(places=9, computing=4)
    queue.wait_until_idle(lambda: 0.0)
    service = ClickService(LoadedEngine(segmenter), PictureCache(0, 0, None, None), queue)
    entered, left = threading.Event(), threading.Event()

    def propose(picture, examples, deadline, slots):
        with slots.computing():
            entered.set()
        left.set()
        return ()

    segmenter.propose = propose
    click = ClickThread(queue, computing)
    ticket = Ticket(None, RequestRecord())
    proposing = threading.Thread(target=service.propose, args=(draw(1), [], ticket))
    proposing.start()
    assert not entered.wait(0.05)
    click.finish()
    assert entered.wait(DEADLINE_SECONDS)
    assert left.wait(DEADLINE_SECONDS)
    proposing.join(DEADLINE_SECONDS)
    # A click that waits for what the proposals have begun must not be waited for.
    with join(queue):
        longest = Deadline.after(0.01)
        queue.wait_until_idle(lambda: longest.remaining_seconds)
        assert service.propose(draw(1), [], ticket) == ()
