"""Levels 2 and 3 together: where factors are found, and how often they are built."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.factors import FactorCache
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.factors import BalancedFactors
from m2n2_engine.types import Level

MakeBalanced = Callable[..., BalancedFactors]
Equal = Callable[[BalancedFactors, BalancedFactors], bool]

LARGE = 2**20
LONG_SECONDS = 30
"""Nothing waits this long unless it would wait forever."""


def key(name: str = "a") -> AttentionKey:
    return AttentionKey(name, "fingerprint")


def build_nothing() -> NoReturn:
    raise AssertionError("built what is kept")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "attention"


@pytest.fixture
def make_cache(folder: Path) -> Callable[..., FactorCache]:
    """A cache as a process of its own would have it, on the folder that all share."""
    return lambda host_bytes=LARGE, disk_bytes=LARGE: FactorCache(host_bytes, DiskStore(folder, disk_bytes))


MakeCache = Callable[..., FactorCache]


def test_built_then_from_host_then_from_disk_then_from_host(
    make_cache: MakeCache, make_balanced: MakeBalanced, equal: Equal
) -> None:
    cache = make_cache()
    assert cache.find(key(), make_balanced)[1] is Level.NETWORK
    found, level = cache.find(key(), build_nothing)
    assert (level, equal(found, make_balanced())) == (Level.HOST, True)
    restarted = make_cache()
    found, level = restarted.find(key(), build_nothing)
    assert (level, equal(found, make_balanced())) == (Level.DISK, True)
    assert restarted.find(key(), build_nothing)[1] is Level.HOST


def test_without_a_disk_there_is_the_host(make_balanced: MakeBalanced) -> None:
    cache = FactorCache(LARGE)
    assert cache.find(key(), make_balanced)[1] is Level.NETWORK
    assert cache.find(key(), build_nothing)[1] is Level.HOST
    assert not any(name.startswith("disk") for name in cache.describe())


def test_a_budget_of_nothing_keeps_nothing(make_cache: MakeCache, make_balanced: MakeBalanced) -> None:
    cache = FactorCache(0)
    assert [cache.find(key(), make_balanced)[1] for _ in range(2)] == [Level.NETWORK] * 2
    assert (cache.describe()["host_images"], cache.describe()["host_bytes"]) == (0, 0)
    cache = make_cache(host_bytes=0)
    assert [cache.find(key(), make_balanced)[1] for _ in range(3)] == [Level.NETWORK, Level.DISK, Level.DISK]


def test_the_host_s_least_recently_used_makes_room_and_stays_on_disk(
    make_cache: MakeCache, make_balanced: MakeBalanced
) -> None:
    nbytes = make_balanced().nbytes
    cache = make_cache(host_bytes=2 * nbytes)
    for name in ("a", "b", "a", "c"):
        cache.find(key(name), make_balanced)
    assert [cache.find(key(name), build_nothing)[1] for name in ("a", "c", "b")] == [Level.HOST, Level.HOST, Level.DISK]
    facts = cache.describe()
    assert (facts["host_images"], facts["host_bytes"], facts["host_evictions"]) == (2, 2 * nbytes, 2)


def test_room_in_the_host_is_made_before_an_image_is_built(make_balanced: MakeBalanced) -> None:
    nbytes = make_balanced().nbytes
    cache = FactorCache(2 * nbytes)
    for name in ("a", "b"):
        cache.find(key(name), make_balanced)
    seen = []

    def build() -> BalancedFactors:
        seen.append((cache.describe()["host_images"], cache.describe()["host_bytes"]))
        return make_balanced()

    cache.find(key("c"), build)
    assert seen == [(2, 2 * nbytes)]  # one was dropped, and the new one's room is reserved


def test_statistics(make_cache: MakeCache, make_balanced: MakeBalanced) -> None:
    cache = make_cache()
    for name in ("a", "b", "a"):
        cache.find(key(name), make_balanced)
    facts = dict(cache.describe())
    assert facts.pop("disk_bytes") > 2 * make_balanced().nbytes
    assert facts == {
        "host_images": 2,
        "host_bytes": 2 * make_balanced().nbytes,
        "host_budget_bytes": LARGE,
        "host_hits": 1,
        "host_misses": 2,
        "host_evictions": 0,
        "disk_images": 2,
        "disk_budget_bytes": LARGE,
        "disk_hits": 0,
        "disk_misses": 2,
        "disk_evictions": 0,
        "disk_write_failures": 0,
    }


@pytest.mark.parametrize("disk_bytes", [LARGE, None])
def test_sixteen_threads_build_once(make_cache: MakeCache, make_balanced: MakeBalanced, disk_bytes: int | None) -> None:
    cache = FactorCache(LARGE) if disk_bytes is None else make_cache()
    building, may_end = threading.Event(), threading.Event()
    builds = []

    def build() -> BalancedFactors:
        builds.append(threading.get_ident())
        building.set()
        assert may_end.wait(LONG_SECONDS)
        return make_balanced()

    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(cache.find, key(), build) for _ in range(16)]
        assert building.wait(LONG_SECONDS)
        deadline = time.monotonic() + LONG_SECONDS
        while cache.describe()["host_hits"] < 15:  # threads that wait tell nobody
            assert time.monotonic() < deadline
        assert not any(future.done() for future in futures)
        may_end.set()
        levels = sorted(future.result(LONG_SECONDS)[1] for future in futures)
    assert len(builds) == 1
    assert levels == [Level.HOST] * 15 + [Level.NETWORK]


def test_caches_on_one_folder_build_once(make_cache: MakeCache, make_balanced: MakeBalanced) -> None:
    caches = [make_cache() for _ in range(4)]
    start = threading.Barrier(len(caches))
    builds = []

    def build() -> BalancedFactors:
        builds.append(threading.get_ident())
        return make_balanced()

    def find(cache: FactorCache) -> Level:
        start.wait(LONG_SECONDS)
        return cache.find(key(), build)[1]

    with ThreadPoolExecutor(len(caches)) as pool:
        levels = sorted(pool.map(find, caches))
    assert len(builds) == 1
    assert levels == [Level.DISK] * 3 + [Level.NETWORK]


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, KeyboardInterrupt])
def test_a_failing_build_leaves_nothing(
    make_cache: MakeCache, make_balanced: MakeBalanced, folder: Path, kind: type[BaseException]
) -> None:
    def fail() -> NoReturn:
        raise kind("no such attention")

    cache = make_cache()
    with pytest.raises(kind, match="no such attention"):
        cache.find(key(), fail)
    assert list(folder.iterdir()) == []
    assert cache.describe()["host_images"] == 0
    assert cache.find(key(), make_balanced)[1] is Level.NETWORK


def test_a_disk_that_cannot_be_written_leaves_the_host(tmp_path: Path, make_balanced: MakeBalanced) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = FactorCache(LARGE, DiskStore(tmp_path / "file" / "attention", LARGE))
    assert cache.find(key(), make_balanced)[1] is Level.NETWORK
    assert cache.find(key(), build_nothing)[1] is Level.HOST
    assert cache.describe()["disk_write_failures"] == 1
