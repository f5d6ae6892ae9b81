"""The line of clicks, with threads that stop where the test tells them to."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

import pytest

from backend.scheduling.queue import Chain, ClickQueue, Obsolete
from m2n2_engine.errors import Busy

CAT = Chain("1.5", "1", "Cat", "first")
DOG = Chain("1.5", "1", "Dog", "first")
DEADLINE_SECONDS = 10


class ClickThread:
    """One click in a thread of its own, which goes on to its end when it is told to."""

    def __init__(self, click, *arguments):
        self.outcome = None
        self.started = threading.Event()
        self.go = threading.Event()
        self.thread = threading.Thread(target=click, args=arguments)
        self.thread.start()

    def finish(self):
        self.go.set()
        return self.leave()

    def leave(self):
        self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive()
        return self.outcome


class Annotator(ClickThread):
    """Joins at once, computes until it is told to go on."""

    def __init__(self, queue, chain=None):
        self.queue = queue
        self.chain = chain
        self.joined = threading.Event()
        super().__init__(self._click)
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


def wait_for(queue, **expected):
    """Until the statistics are these; every change of the line is announced."""
    with queue._changed:
        assert queue._changed.wait_for(
            lambda: all(getattr(queue.statistics, name) == value for name, value in expected.items()), DEADLINE_SECONDS
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


class Holder(ClickThread):
    """Goes into the preparation's lane and stays there until it is told to go on; with ``fails`` its preparation then
    raises. outcome: whether the preparation was needed."""

    def __init__(self, queue, image, chain=None, fails=False):
        self.queue = queue
        self.fails = fails
        self.is_obsolete = False
        super().__init__(self._click, image, chain)

    def _click(self, image, chain):
        with contextlib.suppress(RuntimeError), self.queue.join(chain, image) as ticket:
            try:
                with self.queue.preparation(ticket) as self.outcome:
                    self.started.set()
                    assert self.go.wait(DEADLINE_SECONDS)
                    if self.fails:
                        raise RuntimeError
            except Obsolete:
                self.is_obsolete = True


def begin(queue, *images, **options):
    """Holders of the lane for these images, the first inside and the others in line in this order."""
    holders = []
    for waiting, image in enumerate(images):
        holders.append(Holder(queue, image, **options))
        wait_for(queue, unprepared=waiting, preparing=1)
    return holders


def test_images_are_prepared_one_at_a_time_in_order_and_clicks_on_others_are_not_held_up():
    queue = ClickQueue(places=9, computing=1)
    holders = begin(queue, 1, 2, 3)
    with queue.join(DOG, 9) as ticket, queue.turn(ticket):
        pass
    for first, second in itertools.pairwise(holders):
        assert not second.started.is_set()
        assert first.finish()
        assert second.started.wait(DEADLINE_SECONDS)
    assert holders[-1].finish()
    assert (queue.statistics.unprepared, queue.statistics.preparing) == (0, 0)


def test_who_waits_to_prepare_the_same_image_is_let_go_when_it_is_prepared():
    queue = ClickQueue(places=9, computing=1)
    first, other, same = begin(queue, "cat.png", "dog.png", "cat.png")
    same.go.set()
    assert first.finish()
    # Before the one that stood in line before it, and without preparing.
    assert same.leave() is False
    assert other.finish() is True


def test_as_many_images_are_prepared_as_the_engine_has_networks_at_the_time():
    networks = 2
    queue = ClickQueue(places=9, computing=1, count_networks=lambda: networks)
    first, second, third = (Holder(queue, image) for image in ("cat.png", "dog.png", "cow.png"))
    wait_for(queue, preparing=2, unprepared=1)
    networks = 3
    # Who waits looks again with the next change of the line.
    with queue.join(None):
        pass
    wait_for(queue, preparing=3, unprepared=0)
    assert all([first.finish(), second.finish(), third.finish()])


def test_a_free_place_is_not_for_an_image_that_is_in_preparation():
    queue = ClickQueue(places=9, computing=1, count_networks=lambda: 2)
    first = Holder(queue, "cat.png")
    wait_for(queue, preparing=1, unprepared=0)
    same = Holder(queue, "cat.png")
    wait_for(queue, preparing=1, unprepared=1)
    other = Holder(queue, "dog.png")
    wait_for(queue, preparing=2, unprepared=1)
    assert not same.started.is_set()
    same.go.set()
    assert first.finish() is True
    assert same.leave() is False
    assert other.finish() is True


def test_a_free_place_beside_the_background_is_for_clicks_on_other_images():
    queue = ClickQueue(places=9, computing=1, count_networks=lambda: 2)
    background = Background(queue, "cat.png")
    assert background.started.wait(DEADLINE_SECONDS)
    assert Holder(queue, "dog.png").finish() is True
    background.finish()


def test_after_a_preparation_that_failed_the_next_one_prepares_the_same_image():
    queue = ClickQueue(places=9, computing=1)
    first, second = begin(queue, "cat.png", "cat.png", fails=True)
    assert first.finish()
    assert second.finish()
    assert queue.statistics.preparing == 0


def test_images_without_a_name_are_not_taken_for_the_same():
    queue = ClickQueue(places=9, computing=1)
    first, second = begin(queue, None, None)
    assert first.finish()
    assert second.finish()


def test_being_let_go_is_no_turn_to_compute():
    queue = ClickQueue(places=9, computing=1, longest_wait_seconds=0)
    with queue.join(CAT, "cat.png") as ticket:
        ticket.is_prepared = True
        with queue.join(DOG) as other, queue.turn(other), pytest.raises(Busy), queue.turn(ticket):
            pass


def test_a_click_that_waits_to_prepare_is_dropped_by_a_newer_one_of_its_chain():
    queue = ClickQueue(places=9, computing=4)
    first = Holder(queue, "dog.png", DOG)
    wait_for(queue, unprepared=0, preparing=1)
    older = Holder(queue, "cat.png", CAT)
    wait_for(queue, unprepared=1, preparing=1)
    with queue.join(CAT, "cat.png"):
        assert older.leave() is None
    assert older.is_obsolete
    assert queue.statistics.obsolete == 1
    first.finish()


def test_the_longest_wait_is_one_for_both_lanes():
    queue = ClickQueue(places=9, computing=1)
    with queue.join(CAT, 1) as one, queue.preparation(one), queue.turn(one), queue.join(DOG, 2) as late:
        late.deadline = time.monotonic()
        for lane in (queue.preparation, queue.turn):
            with pytest.raises(Busy, match="no turn within 90 s"), lane(late):
                pass
    assert queue.statistics.refused == 2


class Background:
    """One preparation in the background, in a thread of its own, that ends when it is told to."""

    def __init__(self, queue, image):
        self.queue = queue
        self.image = image
        self.started = threading.Event()
        self.go = threading.Event()
        self.thread = threading.Thread(target=self._prepare)
        self.thread.start()

    def _prepare(self):
        with self.queue.idle_preparation() as ticket:
            ticket.image = self.image
            self.started.set()
            assert self.go.wait(DEADLINE_SECONDS)

    def finish(self):
        self.go.set()
        self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive()


def test_the_background_begins_only_when_no_click_is_under_way_whatever_that_click_does():
    queue = ClickQueue(places=9, computing=2)
    with queue.join(CAT, "cat.png") as cat:  # still fetching its image
        background = Background(queue, "next.png")
        with queue.preparation(cat), queue.join(DOG) as dog, queue.turn(dog):
            assert not background.started.is_set()
        with queue.turn(cat):
            assert not background.started.is_set()
        assert not background.started.is_set()
    assert background.started.wait(DEADLINE_SECONDS)
    background.finish()


def test_a_click_on_the_image_in_the_background_waits_for_it_and_goes_before_others():
    queue = ClickQueue(places=9, computing=2)
    background = Background(queue, "cat.png")
    assert background.started.wait(DEADLINE_SECONDS)
    other = Holder(queue, "dog.png")
    wait_for(queue, unprepared=1, preparing=1)
    same = Holder(queue, "cat.png")
    wait_for(queue, unprepared=2, preparing=1)
    same.go.set()
    background.finish()
    assert same.leave() is False
    assert other.finish() is True
