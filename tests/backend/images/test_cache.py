"""One download for many, one copy for equal bytes, and no more bytes than allowed."""

from __future__ import annotations

import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backend.images import cache as image_cache
from backend.images.cache import ImageCache, ImageCacheStatistics
from m2n2_engine.errors import ImageUnavailable

IMAGE_BYTES = 300


def decode(data):
    return np.full((10, 10, 3), data[0], np.uint8)


class Source:
    """Counts how often it is asked."""

    def __init__(self, data):
        self.data = data
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return self.data


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(image_cache, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_fresh_reference_is_not_asked_again_and_a_stale_one_is(clock):
    cache, source = ImageCache(10 * IMAGE_BYTES, fresh_seconds=60), Source(b"a")
    first = cache.get("a", source, decode)
    clock[0] += 59
    assert cache.get("a", source, decode) is first
    assert source.asked == 1
    clock[0] += 1
    assert cache.get("a", source, decode) is first
    assert source.asked == 2
    clock[0] += 60
    source.data = b"b"
    assert cache.get("a", source, decode)[0, 0, 0] == ord("b")


def test_equal_bytes_are_decoded_once():
    cache = ImageCache(10 * IMAGE_BYTES, fresh_seconds=60)
    assert cache.get("a", Source(b"same"), decode) is cache.get("b", Source(b"same"), pytest.fail)


def test_what_many_share_cannot_be_written_to():
    image = ImageCache(0, fresh_seconds=60).get("a", Source(b"a"), decode)
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0


def test_the_least_recently_used_image_makes_room():
    cache = ImageCache(2 * IMAGE_BYTES, fresh_seconds=60)
    a, b, c = Source(b"a"), Source(b"b"), Source(b"c")
    cache.get("a", a, decode)
    cache.get("b", b, decode)
    cache.get("a", a, decode)
    cache.get("c", c, decode)
    cache.get("a", a, decode)
    assert (a.asked, b.asked, c.asked) == (1, 1, 1)
    cache.get("b", b, decode)
    assert b.asked == 2


@pytest.mark.parametrize("max_bytes", [0, IMAGE_BYTES - 1])
def test_an_image_larger_than_the_room_is_given_but_not_kept(max_bytes):
    cache, source = ImageCache(max_bytes, fresh_seconds=60), Source(b"a")
    for _ in range(2):
        assert cache.get("a", source, decode).shape == (10, 10, 3)
    assert source.asked == 2


def test_parallel_first_clicks_fetch_once():
    cache, asked = ImageCache(10 * IMAGE_BYTES, fresh_seconds=60), []
    inside, go_on = threading.Event(), threading.Event()

    def fetch():
        asked.append(1)
        inside.set()
        assert go_on.wait(10)
        return b"a"

    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(cache.get, "a", fetch, decode)
        assert inside.wait(10)
        others = [pool.submit(cache.get, "a", fetch, decode) for _ in range(7)]
        # Another reference is not held up.
        assert cache.get("b", lambda: b"b", decode)[0, 0, 0] == ord("b")
        go_on.set()
        assert all(other.result(10) is leader.result(10) for other in others)
    assert len(asked) == 1
    assert (cache.statistics.hits, cache.statistics.misses) == (7, 2)


def test_a_failure_reaches_all_who_wait_and_is_forgotten(monkeypatch):
    cache, failures = ImageCache(10 * IMAGE_BYTES, fresh_seconds=60), []
    inside, follows, go_on = threading.Event(), threading.Event(), threading.Event()
    wait_for = image_cache._follow

    def follow(loaded):
        follows.set()
        return wait_for(loaded)

    def fetch():
        inside.set()
        assert go_on.wait(10)
        raise ImageUnavailable("status 500")

    monkeypatch.setattr(image_cache, "_follow", follow)
    with ThreadPoolExecutor(2) as pool:
        clicks = [pool.submit(cache.get, "a", fetch, decode)]
        assert inside.wait(10)
        clicks.append(pool.submit(cache.get, "a", pytest.fail, decode))
        assert follows.wait(10)
        go_on.set()
        failures = [click.exception(10) for click in clicks]
    assert [str(failure) for failure in failures] == ["status 500", "status 500"]
    assert failures[0] is not failures[1]
    assert cache.get("a", Source(b"a"), decode)[0, 0, 0] == ord("a")


def test_hits_misses_evictions_and_bytes_are_counted(clock):
    cache = ImageCache(2 * IMAGE_BYTES, fresh_seconds=60)
    for reference in ("a", "a", "b", "b"):
        cache.get(reference, Source(reference.encode()), decode)
    assert cache.statistics == ImageCacheStatistics(
        kept=2, bytes=2 * IMAGE_BYTES, budget_bytes=2 * IMAGE_BYTES, hits=2, misses=2, evictions=0
    )
    cache.get("c", Source(b"c"), decode)
    clock[0] += 60
    cache.get("c", Source(b"c"), decode)
    statistics = cache.statistics
    assert (statistics.hits, statistics.misses, statistics.evictions) == (2, 4, 1), "asking again is no hit"
    assert (statistics.kept, statistics.bytes) == (2, 2 * IMAGE_BYTES)
