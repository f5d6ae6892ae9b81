"""The cache of what stays in memory alone, with sessions that only take room."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from m2n2_engine.cache.memory import AttentionKey, ResidentCache
from m2n2_engine.errors import DeadlineExceeded
from m2n2_engine.types import Deadline

SIZE = 100
LONG_SECONDS = 30
"""Nothing waits this long unless it would wait forever."""


@dataclasses.dataclass
class FakeSession:
    nbytes: int = SIZE


Cache = ResidentCache[FakeSession]


def key(name: str) -> AttentionKey:
    return AttentionKey(name, "fingerprint")


def build_nothing() -> NoReturn:
    raise AssertionError("built a session that is resident")


@contextlib.contextmanager
def opened(
    cache: Cache, key: AttentionKey, expected_bytes: int, build: Callable[[], FakeSession]
) -> Iterator[FakeSession]:
    """What is kept, built where nothing is."""
    with cache.open(key, expected_bytes) as lease:
        if lease.is_new:
            lease.fill(build())
        yield lease.value


def touch(cache: Cache, *names: str, nbytes: int = SIZE) -> None:
    """Open and leave the sessions of these names, building those that are not there."""
    for name in names:
        with opened(cache, key(name), nbytes, lambda: FakeSession(nbytes)):
            pass


def ask(cache: Cache, build: Callable[[], FakeSession], name: str = "a") -> FakeSession:
    """What a caller gets."""
    with opened(cache, key(name), SIZE, build) as session:
        return session


def wait_until(is_so: Callable[[], bool]) -> None:
    """Poll for what other threads do without telling."""
    deadline = time.monotonic() + LONG_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def resident(cache: Cache, *names: str) -> list[str]:
    """Those of these names that are in the cache. Asking for one that is not makes room down to the budget."""
    found = []
    for name in names:
        with contextlib.suppress(AssertionError), opened(cache, key(name), 0, build_nothing):
            found.append(name)
    return found


@pytest.fixture
def cache() -> Cache:
    """Room for three sessions."""
    return ResidentCache(3 * SIZE)


def test_a_second_opening_finds_the_same_session(cache: Cache) -> None:
    session = FakeSession()
    with opened(cache, key("a"), SIZE, lambda: session) as first:
        assert first is session
    with opened(cache, key("a"), SIZE, build_nothing) as second:
        assert second is session


def test_another_fingerprint_is_another_session(cache: Cache) -> None:
    touch(cache, "a")
    other = FakeSession()
    with opened(cache, AttentionKey("a", "other fingerprint"), SIZE, lambda: other) as session:
        assert session is other


def test_the_least_recently_used_goes_first(cache: Cache) -> None:
    touch(cache, "a", "b", "c", "a", "d")
    assert resident(cache, "a", "b", "c", "d") == ["a", "c", "d"]


def test_what_fits_the_budget_exactly_stays(cache: Cache) -> None:
    touch(cache, "a", "b", "c")
    assert cache.status.evictions == 0
    assert resident(cache, "a", "b", "c") == ["a", "b", "c"]


def test_room_is_made_before_a_session_is_built(cache: Cache) -> None:
    touch(cache, "a", "b", "c")
    used_while_building = []

    def build() -> FakeSession:
        used_while_building.append(cache.status.bytes)
        return FakeSession(2 * SIZE)

    with opened(cache, key("d"), 2 * SIZE, build):
        pass
    assert used_while_building == [SIZE + 2 * SIZE]
    assert resident(cache, "a", "b", "c", "d") == ["c", "d"]


def test_a_session_larger_than_the_budget_stays_until_the_next(cache: Cache) -> None:
    touch(cache, "a")
    touch(cache, "large", nbytes=10 * SIZE)
    assert resident(cache, "large", "a") == ["large"]
    touch(cache, "large", nbytes=10 * SIZE)
    touch(cache, "b")
    assert resident(cache, "b", "large") == ["b"]


def test_a_session_in_use_is_never_evicted(cache: Cache) -> None:
    with opened(cache, key("used"), SIZE, FakeSession):
        touch(cache, "a", "b", "c", "d")
        cache.drop_idle()
        assert resident(cache, "used", "a", "b", "c", "d") == ["used"]
    cache.drop_idle()
    assert cache.status.images == 0


def test_a_session_opened_twice_is_in_use_until_both_left(cache: Cache) -> None:
    with opened(cache, key("a"), SIZE, FakeSession):
        with opened(cache, key("a"), SIZE, build_nothing):
            pass
        cache.drop_idle()
        assert resident(cache, "a") == ["a"]


def test_a_session_whose_user_fails_is_given_back(cache: Cache) -> None:
    with pytest.raises(ValueError, match="the click failed"), opened(cache, key("a"), SIZE, FakeSession):
        raise ValueError("the click failed")
    assert resident(cache, "a") == ["a"]
    cache.drop_idle()
    assert cache.status.images == 0


def test_growth_while_in_use_counts_when_it_is_given_back(cache: Cache) -> None:
    touch(cache, "a", "b")
    with opened(cache, key("c"), SIZE, FakeSession) as session:
        session.nbytes = 2 * SIZE
        assert cache.status.bytes == 4 * SIZE
    assert cache.status.bytes == 3 * SIZE
    assert resident(cache, "a", "b", "c") == ["b", "c"]


def test_statistics(cache: Cache) -> None:
    touch(cache, "a", "b", "a", "c", "d")
    found = cache.status
    assert (found.hits, found.misses, found.evictions) == (1, 4, 1)
    assert (found.images, found.bytes, found.budget_bytes) == (3, 3 * SIZE, 3 * SIZE)


def test_concurrent_callers_share_one_build(cache: Cache) -> None:
    building, may_end = threading.Event(), threading.Event()
    session = FakeSession()

    def build() -> FakeSession:
        building.set()
        assert may_end.wait(LONG_SECONDS)
        return session

    with ThreadPoolExecutor(8) as pool:
        builder = pool.submit(ask, cache, build)
        assert building.wait(LONG_SECONDS)
        waiters = [pool.submit(ask, cache, build_nothing) for _ in range(7)]
        wait_until(lambda: cache.status.hits == 7)
        assert not any(future.done() for future in waiters)
        may_end.set()
        assert all(future.result(LONG_SECONDS) is session for future in [builder, *waiters])
    assert (cache.status.hits, cache.status.misses) == (7, 1)


def test_two_images_are_built_beside_each_other(cache: Cache) -> None:
    both_building = threading.Barrier(2)

    def build() -> FakeSession:
        both_building.wait(LONG_SECONDS)
        return FakeSession()

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(ask, cache, build, name) for name in ("a", "b")]
    first, second = (future.result() for future in futures)
    assert first is not second


def test_the_room_of_sessions_being_built_is_taken(cache: Cache) -> None:
    touch(cache, "a", "b", "c")
    used = []

    def build_another() -> FakeSession:
        with opened(cache, key("e"), SIZE, FakeSession):
            used.append(cache.status.bytes)
        return FakeSession()

    with opened(cache, key("d"), SIZE, build_another):
        pass
    assert used == [3 * SIZE]
    assert resident(cache, "a", "b", "c", "d", "e") == ["c", "d", "e"]


def test_the_newest_stays_only_where_it_may() -> None:
    cache: Cache = ResidentCache(SIZE, keep_newest=False)
    touch(cache, "a")
    assert resident(cache, "a") == ["a"]
    touch(cache, "large", nbytes=2 * SIZE)
    assert (cache.status.images, cache.status.bytes) == (0, 0)


def test_a_session_being_built_is_not_evicted(cache: Cache) -> None:
    def build() -> FakeSession:
        touch(cache, "a", "b", "c", "d")
        cache.drop_idle()
        return FakeSession()

    with opened(cache, key("slow"), SIZE, build):
        pass
    assert resident(cache, "slow", "d") == ["slow"]


def test_a_failing_build_leaves_nothing_behind(cache: Cache) -> None:
    def fail() -> NoReturn:
        raise RuntimeError("no such attention")

    with pytest.raises(RuntimeError, match="no such attention"), opened(cache, key("a"), SIZE, fail):
        raise AssertionError("entered the block without a session")
    assert (cache.status.images, cache.status.bytes) == (0, 0)
    touch(cache, "a")
    assert resident(cache, "a") == ["a"]


@pytest.mark.parametrize("fails_always", [False, True])
def test_everyone_who_waits_for_a_failing_build_tries_once_more(cache: Cache, fails_always: bool) -> None:
    building, may_fail = threading.Event(), threading.Event()

    def build() -> FakeSession:
        is_first = not building.is_set()
        building.set()
        assert may_fail.wait(LONG_SECONDS)
        if is_first or fails_always:
            raise RuntimeError("no such attention")
        return FakeSession()

    with ThreadPoolExecutor(4) as pool:
        builder = pool.submit(ask, cache, build)
        assert building.wait(LONG_SECONDS)
        waiters = [pool.submit(ask, cache, build) for _ in range(3)]
        wait_until(lambda: cache.status.hits == 3)
        may_fail.set()
        assert str(builder.exception(LONG_SECONDS)) == "no such attention"
        problems = [waiter.exception(LONG_SECONDS) for waiter in waiters]
    expected = "no such attention" if fails_always else "None"
    assert [str(problem) for problem in problems] == [expected] * 3
    assert cache.status.images == int(not fails_always)


@pytest.mark.parametrize("failures", [2, 4])
def test_nobody_fails_for_another_caller_s_reason(cache: Cache, failures: int) -> None:
    tries = itertools.count(1)
    all_others_wait = {1: 3, 2: 5, 3: 6, 4: 6}
    """Number of a build -> hits, once everybody else waits for it."""

    def build() -> FakeSession:
        number = next(tries)
        wait_until(lambda: cache.status.hits == all_others_wait[number])
        if number <= failures:
            raise RuntimeError(str(number))
        return FakeSession()

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(ask, cache, build) for _ in range(4)]
        problems = sorted(str(caller.exception(LONG_SECONDS)) for caller in callers)
    assert problems == [*map(str, range(1, failures + 1)), *["None"] * (4 - failures)]


def test_a_block_that_fills_nothing_leaves_nothing_behind(cache: Cache) -> None:
    with cache.open(key("a"), SIZE):
        pass
    assert (cache.status.images, cache.status.bytes) == (0, 0)


def test_who_waits_has_a_deadline_and_leaves_the_build_alone(cache: Cache) -> None:
    with cache.open(key("a"), SIZE) as lease:
        with pytest.raises(DeadlineExceeded), cache.open(key("a"), SIZE, Deadline.after(0)):
            pass
        lease.fill(FakeSession())
    assert resident(cache, "a") == ["a"]
