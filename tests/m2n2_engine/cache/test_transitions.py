"""Host memory and disk together: where transition matrices are found, and how often an image passes the network."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.cache.transitions import BackboneSource
from m2n2_engine.config import ChainConfig
from m2n2_engine.errors import DeadlineExceeded
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors
from m2n2_engine.types import Deadline, Image, Picture, Tier, TierStatus

MakeBalanced = Callable[..., BalancedFactors]

LARGE = 2**20
LONG_SECONDS = 30
"""Nothing waits this long unless it would wait forever."""


class CountingBackbone:
    """Says the same of every image, and counts how often it is asked; calls ``before`` first."""

    name, grid, device, fingerprint = "counting", (3, 4), "cpu", "counting"

    def __init__(self, factors: AttentionFactors) -> None:
        self.passed = 0
        self.before: Callable[[], object] = lambda: None
        self._factors = factors
        self._lock = threading.Lock()

    def extract(self, image: Image) -> AttentionFactors:
        with self._lock:
            self.passed += 1
        self.before()
        return self._factors


class WatchedSlots:
    """Free, and remembers what was entered."""

    def __init__(self) -> None:
        self.entered: list[str] = []

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        self.entered.append("network")
        yield

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        self.entered.append("computing")
        yield


def draw(name: str) -> Picture:
    return Picture.of(np.full((3, 4, 3), ord(name), np.uint8))


def key(name: str = "a") -> AttentionKey:
    return AttentionKey(draw(name).digest, "fingerprint")


def find(source: BackboneSource, name: str = "a") -> Tier:
    return source.find(draw(name), key(name)).tier


@pytest.fixture
def backbone(make_balanced: MakeBalanced) -> CountingBackbone:
    return CountingBackbone(make_balanced().factors)


@pytest.fixture
def nbytes(make_balanced: MakeBalanced) -> int:
    """Of what is kept of an image."""
    return make_balanced().nbytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "attention"


@pytest.fixture
def make_source(backbone: CountingBackbone, folder: Path) -> Callable[..., BackboneSource]:
    """A source as a process of its own would have it, on the folder that all share; None: without a disk."""

    def make(host_bytes: int = LARGE, disk_bytes: int | None = LARGE) -> BackboneSource:
        disk = None if disk_bytes is None else DiskStore(folder, disk_bytes)
        return BackboneSource(backbone, ChainConfig(), host_bytes, disk)

    return make


MakeSource = Callable[..., BackboneSource]


def test_prepared_then_from_host_then_from_disk_then_from_host(
    make_source: MakeSource, backbone: CountingBackbone
) -> None:
    source, restarted = make_source(), make_source()
    found = [one.find(draw("a"), key()) for one in (source, source, restarted, restarted)]
    assert [one.tier for one in found] == [Tier.NETWORK, Tier.HOST, Tier.DISK, Tier.HOST]
    matrices = [source.restore(one) for one in found]
    assert matrices[0].shape == (3, 4, 3, 4)
    assert all(torch.equal(matrices[0], other) for other in matrices[1:])
    assert backbone.passed == 1


def test_without_a_disk_there_is_the_host(make_source: MakeSource) -> None:
    source = make_source(disk_bytes=None)
    assert [find(source) for _ in range(2)] == [Tier.NETWORK, Tier.HOST]
    assert list(source.tiers) == [Tier.HOST]
    assert source.write_failures is None


def test_a_budget_of_nothing_keeps_nothing(make_source: MakeSource) -> None:
    source = make_source(host_bytes=0, disk_bytes=None)
    assert [find(source) for _ in range(2)] == [Tier.NETWORK] * 2
    assert (source.tiers[Tier.HOST].images, source.tiers[Tier.HOST].bytes) == (0, 0)
    source = make_source(host_bytes=0)
    assert [find(source) for _ in range(3)] == [Tier.NETWORK, Tier.DISK, Tier.DISK]


def test_the_host_s_least_recently_used_makes_room_and_stays_on_disk(make_source: MakeSource, nbytes: int) -> None:
    source = make_source(host_bytes=2 * nbytes)
    for name in ("a", "b", "a", "c"):
        find(source, name)
    assert [find(source, name) for name in ("a", "c", "b")] == [Tier.HOST, Tier.HOST, Tier.DISK]
    host = source.tiers[Tier.HOST]
    assert (host.images, host.bytes, host.evictions) == (2, 2 * nbytes, 2)


def test_room_in_the_host_is_made_before_an_image_passes_the_network(
    make_source: MakeSource, backbone: CountingBackbone, nbytes: int
) -> None:
    source = make_source(host_bytes=2 * nbytes, disk_bytes=None)
    for name in ("a", "b"):
        find(source, name)
    seen: list[TierStatus] = []
    backbone.before = lambda: seen.append(source.tiers[Tier.HOST])
    find(source, "c")
    # One was dropped, and the new one's room is reserved.
    assert [(host.images, host.bytes) for host in seen] == [(2, 2 * nbytes)]


def test_what_is_kept_is_counted(make_source: MakeSource, nbytes: int) -> None:
    source = make_source()
    for name in ("a", "b", "a"):
        find(source, name)
    source.flush()
    host, disk = source.tiers[Tier.HOST], source.tiers[Tier.DISK]
    assert host == TierStatus(images=2, bytes=2 * nbytes, budget_bytes=LARGE, hits=1, misses=2, evictions=0)
    assert disk.bytes > 2 * nbytes
    assert (disk.images, disk.budget_bytes, disk.hits, disk.misses, disk.evictions) == (2, LARGE, 0, 2, 0)
    assert source.write_failures == 0


@pytest.mark.parametrize("disk_bytes", [LARGE, None])
def test_sixteen_threads_pass_the_network_once(
    make_source: MakeSource, backbone: CountingBackbone, disk_bytes: int | None
) -> None:
    source = make_source(disk_bytes=disk_bytes)
    building, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        building.set()
        assert may_end.wait(LONG_SECONDS)

    backbone.before = wait
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(find, source) for _ in range(16)]
        assert building.wait(LONG_SECONDS)
        deadline = time.monotonic() + LONG_SECONDS
        while source.tiers[Tier.HOST].hits < 15:  # threads that wait tell nobody
            assert time.monotonic() < deadline
        assert not any(future.done() for future in futures)
        may_end.set()
        tiers = sorted(future.result(LONG_SECONDS) for future in futures)
    assert backbone.passed == 1
    assert tiers == [Tier.HOST] * 15 + [Tier.NETWORK]


def test_processes_on_one_folder_pass_the_network_once(make_source: MakeSource, backbone: CountingBackbone) -> None:
    sources = [make_source() for _ in range(4)]
    start = threading.Barrier(len(sources))

    def find_together(source: BackboneSource) -> Tier:
        start.wait(LONG_SECONDS)
        return find(source)

    with ThreadPoolExecutor(len(sources)) as pool:
        tiers = sorted(pool.map(find_together, sources))
    assert backbone.passed == 1
    assert tiers == [Tier.DISK] * 3 + [Tier.NETWORK]


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, KeyboardInterrupt])
def test_a_failing_network_leaves_nothing(
    make_source: MakeSource, backbone: CountingBackbone, folder: Path, kind: type[BaseException]
) -> None:
    errors = [kind("no such attention")]

    def fail_once() -> None:
        if errors:
            raise errors.pop()

    backbone.before = fail_once
    source = make_source()
    with pytest.raises(kind, match="no such attention"):
        find(source)
    assert list(folder.iterdir()) == []
    assert source.tiers[Tier.HOST].images == 0
    assert find(source) is Tier.NETWORK


def test_a_disk_that_cannot_be_written_leaves_the_host(tmp_path: Path, backbone: CountingBackbone) -> None:
    (tmp_path / "file").write_text("no folder")
    source = BackboneSource(backbone, ChainConfig(), LARGE, DiskStore(tmp_path / "file" / "attention", LARGE))
    assert [find(source) for _ in range(2)] == [Tier.NETWORK, Tier.HOST]
    source.flush()
    assert source.write_failures == 1


# --- deadlines


def test_no_image_passes_the_network_when_no_time_is_left(
    make_source: MakeSource, backbone: CountingBackbone, folder: Path
) -> None:
    source = make_source()
    with pytest.raises(DeadlineExceeded, match="no time is left to prepare the image"):
        source.find(draw("a"), key(), Deadline.after(0))
    assert backbone.passed == 0
    assert list(folder.iterdir()) == []
    assert find(source) is Tier.NETWORK


def test_who_waits_for_another_thread_has_a_deadline_of_its_own(
    make_source: MakeSource, backbone: CountingBackbone
) -> None:
    source = make_source()
    building, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        building.set()
        assert may_end.wait(LONG_SECONDS)

    backbone.before = wait
    with ThreadPoolExecutor(1) as pool:
        builder = pool.submit(find, source)
        assert building.wait(LONG_SECONDS)
        with pytest.raises(DeadlineExceeded):
            source.find(draw("a"), key(), Deadline.after(0))
        # Another image waits for the network, also no longer than its deadline.
        with pytest.raises(DeadlineExceeded):
            source.find(draw("b"), key("b"), Deadline.after(0.01))
        may_end.set()
        assert builder.result(LONG_SECONDS) is Tier.NETWORK


def test_who_waits_for_another_process_keeps_nobody_from_the_network(
    make_source: MakeSource, backbone: CountingBackbone, folder: Path
) -> None:
    """A process may be suspended with the lock of an image, for as long as it likes."""
    source, slots = make_source(), WatchedSlots()
    with ThreadPoolExecutor(1) as pool:
        with DiskStore(folder, LARGE).building(key()):
            waiting = pool.submit(source.find, draw("a"), key(), Deadline.after(LONG_SECONDS), slots)
            deadline = time.monotonic() + LONG_SECONDS
            while source.tiers[Tier.HOST].misses < 1:
                assert time.monotonic() < deadline
            assert find(source, "b") is Tier.NETWORK
            assert slots.entered == []
        assert waiting.result(LONG_SECONDS).tier is Tier.NETWORK
    assert slots.entered == ["network"]


def test_half_of_the_time_goes_to_waiting_for_another_process_and_half_to_preparing(
    make_source: MakeSource, folder: Path
) -> None:
    seconds = 1.0
    with DiskStore(folder, LARGE).building(key()):
        deadline = Deadline.after(seconds)
        assert make_source().find(draw("a"), key(), deadline).tier is Tier.NETWORK
        # On a busy machine it may be later, but it is never earlier.
        assert deadline.remaining_seconds <= seconds / 2
