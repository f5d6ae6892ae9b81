"""One download for many, one copy for equal bytes, and no more bytes than allowed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backend.errors import ImageUnavailable
from backend.images.cache import PictureCache, PictureCacheStatistics, TaskImage
from m2n2_engine.errors import DeadlineExceeded
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.types import Deadline

IMAGE_BYTES = 300
LONGEST_SECONDS = 10


class Source:
    """Files by their references, each fetched when the test lets it; counts how often each is asked for."""

    def __init__(self, **files):
        self.files = files
        self.asked = []
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def fetch(self, image, _deadline):
        self.asked.append(image.reference)
        self.inside.set()
        if image.reference == "slow":
            assert self.go_on.wait(LONGEST_SECONDS)
        file = self.files[image.reference]
        if isinstance(file, Exception):
            raise file
        return file

    def count(self, reference):
        return self.asked.count(reference)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source():
    return Source(a=b"a", b=b"b", c=b"c", slow=b"a")


@pytest.fixture
def make_cache(source, clock):
    def make(images=10, decode=lambda data, _image, _deadline: np.full((10, 10, 3), data[0], np.uint8)):
        return PictureCache(int(images * IMAGE_BYTES), 60, source.fetch, decode, clock)

    return make


def get(cache, reference, deadline=None):
    return cache.get(TaskImage(reference), deadline or Deadline.after(LONGEST_SECONDS))


def test_a_fresh_reference_is_not_asked_again_and_a_stale_one_is(make_cache, source, clock):
    cache = make_cache()
    first = get(cache, "a")
    clock.now += 59
    assert get(cache, "a") is first
    assert source.count("a") == 1
    clock.now += 1
    assert get(cache, "a") is first
    assert source.count("a") == 2
    clock.now += 60
    source.files["a"] = b"b"
    assert get(cache, "a").pixels[0, 0, 0] == ord("b")


SIZE, OTHER_SIZE = (10, 10), (20, 10)


def get_expecting(cache, reference, size):
    return cache.get(TaskImage(reference), Deadline.after(LONGEST_SECONDS), size)


def test_a_kept_image_of_another_size_is_fetched_again_at_once(make_cache, source):
    cache = make_cache(
        decode=lambda data, _image, _deadline: np.zeros((*(SIZE if data == b"a" else OTHER_SIZE), 3), np.uint8)
    )
    assert get_expecting(cache, "a", SIZE).size == SIZE
    source.files["a"] = b"another one"
    assert get_expecting(cache, "a", SIZE).size == SIZE
    assert source.count("a") == 1
    assert get_expecting(cache, "a", OTHER_SIZE).size == OTHER_SIZE
    assert get(cache, "a").size == OTHER_SIZE
    assert source.count("a") == 2


def test_an_image_that_keeps_its_size_is_fetched_again_once_for_that(make_cache, source, clock):
    cache = make_cache()
    first = get(cache, "a")
    for _ in range(3):
        assert get_expecting(cache, "a", OTHER_SIZE) == first
    assert source.count("a") == 2
    assert get_expecting(cache, "a", SIZE) == first
    assert source.count("a") == 2
    clock.now += 60
    get_expecting(cache, "a", OTHER_SIZE)
    assert source.count("a") == 3
    # Fetched for this very size: what came is as new as can be.
    get_expecting(cache, "b", OTHER_SIZE)
    get_expecting(cache, "b", OTHER_SIZE)
    assert source.count("b") == 1


def test_one_file_under_two_rules_of_turning_is_two_pictures(make_cache, source):
    turned = {Orientation.PAGE: 1, Orientation.FILE: 2}
    cache = make_cache(decode=lambda _data, image, _deadline: np.full((10, 10, 3), turned[image.orientation], np.uint8))
    for _ in range(2):
        for rule, value in turned.items():
            picture = cache.get(TaskImage("a", orientation=rule), Deadline.after(LONGEST_SECONDS))
            assert (picture.pixels == value).all()
    assert source.count("a") == 2


def test_equal_bytes_are_decoded_once(make_cache, source):
    decoded = []
    cache = make_cache(decode=lambda data, _image, _deadline: decoded.append(data) or np.zeros((10, 10, 3), np.uint8))
    source.files["b"] = source.files["a"]
    assert get(cache, "a") is get(cache, "b")
    assert decoded == [b"a"]


def test_one_reference_of_two_tasks_is_fetched_for_each(make_cache, source):
    cache = make_cache()
    for task_id in (1, 2, 1):
        cache.get(TaskImage("a", task_id))
    assert source.count("a") == 2


def test_what_many_share_cannot_be_written_to(make_cache):
    with pytest.raises(ValueError, match="read-only"):
        get(make_cache(images=0), "a").pixels[0] = 0


def test_the_least_recently_used_image_makes_room(make_cache, source):
    cache = make_cache(images=2)
    for reference in ("a", "b", "a", "c", "a"):
        get(cache, reference)
    assert [source.count(reference) for reference in "abc"] == [1, 1, 1]
    get(cache, "b")
    assert source.count("b") == 2


@pytest.mark.parametrize("images", [0, 0.99])
def test_an_image_larger_than_the_room_is_given_but_not_kept(make_cache, source, images):
    cache = make_cache(images)
    for _ in range(2):
        assert get(cache, "a").size == (10, 10)
    assert source.count("a") == 2


def test_parallel_first_clicks_fetch_once(make_cache, source):
    cache = make_cache()
    source.go_on.clear()
    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(get, cache, "slow")
        assert source.inside.wait(LONGEST_SECONDS)
        others = [pool.submit(get, cache, "slow") for _ in range(7)]
        # Another reference is not held up.
        assert get(cache, "b").pixels[0, 0, 0] == ord("b")
        source.go_on.set()
        assert all(other.result(LONGEST_SECONDS) is leader.result(LONGEST_SECONDS) for other in others)
    assert source.count("slow") == 1
    assert (cache.statistics.hits, cache.statistics.misses) == (7, 2)


def wait_for_hits(cache, hits):
    deadline = time.monotonic() + LONGEST_SECONDS
    while cache.statistics.hits < hits:
        assert time.monotonic() < deadline


def test_a_failure_reaches_all_who_wait_and_is_forgotten(make_cache, source):
    cache = make_cache()
    source.go_on.clear()
    source.files["slow"] = ImageUnavailable("status 500")
    with ThreadPoolExecutor(2) as pool:
        clicks = [pool.submit(get, cache, "slow") for _ in range(2)]
        wait_for_hits(cache, 1)
        source.go_on.set()
        failures = [click.exception(LONGEST_SECONDS) for click in clicks]
    assert [str(failure) for failure in failures] == ["image slow: status 500"] * 2
    assert failures[0] is not failures[1]
    assert source.count("slow") == 1
    source.files["slow"] = b"a"
    assert get(cache, "slow").pixels[0, 0, 0] == ord("a")


def test_nothing_is_decoded_when_no_time_is_left(make_cache, source):
    cache = make_cache(decode=pytest.fail)
    with pytest.raises(DeadlineExceeded, match="no time is left to decode the image"):
        get(cache, "a", Deadline.after(0))


def test_who_waits_for_another_click_has_a_deadline_of_its_own(make_cache, source):
    cache = make_cache()
    source.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(get, cache, "slow")
        assert source.inside.wait(LONGEST_SECONDS)
        with pytest.raises(DeadlineExceeded):
            get(cache, "slow", Deadline.after(0))
        source.go_on.set()
        assert leader.result(LONGEST_SECONDS)


def test_a_click_whose_time_is_over_does_not_fail_another_that_waits_for_it(make_cache, source):
    cache = make_cache()
    source.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(get, cache, "slow", Deadline.after(0))
        assert source.inside.wait(LONGEST_SECONDS)
        other = pool.submit(get, cache, "slow")
        wait_for_hits(cache, 1)
        source.go_on.set()
        assert isinstance(late.exception(LONGEST_SECONDS), DeadlineExceeded)
        assert other.result(LONGEST_SECONDS).size == (10, 10)


def test_however_many_others_come_too_late_a_click_has_its_own_time(make_cache, source):
    late = [DeadlineExceeded("too late")] * 3

    def decode(data, _image, _deadline):
        if late:
            raise late.pop()
        return np.zeros((10, 10, 3), np.uint8)

    assert get(make_cache(decode=decode), "a").size == (10, 10)


def test_hits_misses_evictions_and_bytes_are_counted(make_cache, clock):
    cache = make_cache(images=2)
    for reference in ("a", "a", "b", "b"):
        get(cache, reference)
    assert cache.statistics == PictureCacheStatistics(
        kept=2, bytes=2 * IMAGE_BYTES, budget_bytes=2 * IMAGE_BYTES, hits=2, misses=2, evictions=0
    )
    get(cache, "c")
    clock.now += 60
    get(cache, "c")
    statistics = cache.statistics
    assert (statistics.hits, statistics.misses, statistics.evictions) == (2, 4, 1), "asking again is no hit"
    assert (statistics.kept, statistics.bytes) == (2, 2 * IMAGE_BYTES)


def test_a_released_picture_is_fetched_anew(make_cache, source):
    cache = make_cache()
    get(cache, "a")
    cache.release(TaskImage("a"))
    assert cache.statistics.kept == cache.statistics.bytes == 0
    get(cache, "a")
    assert source.count("a") == 2


def test_a_picture_that_another_reference_shows_too_stays_when_one_is_released(make_cache, source):
    cache = make_cache()
    get(cache, "a")
    get(cache, "slow")
    cache.release(TaskImage("a"))
    assert cache.statistics.kept == 1
    cache.release(TaskImage("a"))
    cache.release(TaskImage("never asked for"))
    assert cache.statistics.kept == 1
    cache.release(TaskImage("slow"))
    assert cache.statistics.kept == 0
