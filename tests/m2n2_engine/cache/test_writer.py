"""What is kept of an image is written behind its click: in order, bounded, and before a process ends on its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from m2n2_engine.backbones import load_backbone
from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.cache.writer import DiskWriter
from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.engine import Engine, build_engine
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors
from m2n2_engine.types import Click, Image, Tier
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")

LONG_SECONDS = 60


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(5).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture
def config(tmp_path: Path) -> EngineConfig:
    return EngineConfig(
        backbone="tiny",
        device="cpu",
        method=MethodConfig(max_steps=100),
        disk_cache_bytes=2**30,
        disk_cache_folder=tmp_path / "attention",
    )


def start(config: EngineConfig) -> Engine:
    return build_engine(load_backbone(config), config)


def list_written(config: EngineConfig) -> list[Path]:
    return sorted(config.disk_cache_folder.glob("*.safetensors"))


def test_a_click_is_answered_before_its_image_is_written(config: EngineConfig, image: Image) -> None:
    engine = start(config)
    engine.prepare(255 - image)
    engine.flush()
    (first,) = list_written(config)
    with FileLock(config.disk_cache_folder / "attention.lock"):  # as another process that writes
        assert engine.segment(image, [Click(20, 20)]).mask.mean() > 0
        assert list_written(config) == [first]
    engine.flush()
    assert len(list_written(config)) == 2
    assert engine.status().disk_write_failures == 0


def test_whoever_wants_the_image_meanwhile_waits_for_the_file(config: EngineConfig, image: Image) -> None:
    """Another process, or this one without room for it in memory, does not send it through the network again."""
    engine, other = start(config), start(config)
    engine.prepare(image)
    assert other.prepare(image) is Tier.DISK


def test_a_process_that_ends_on_its_own_writes_first(config: EngineConfig, tmp_path: Path) -> None:
    program = f"""
import numpy as np
from m2n2_engine import EngineConfig, load_engine
from pathlib import Path

config = EngineConfig(backbone="tiny", device="cpu", disk_cache_bytes=2**30, disk_cache_folder=Path({str(tmp_path)!r}))
engine = load_engine(config)
for value in range(5):
    engine.prepare(np.full((9, 9, 3), value, np.uint8))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=LONG_SECONDS)
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


class HeldStore(DiskStore):
    """Writes nothing until it may, and remembers in which order it was asked to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 2**20)
        self.may_go = threading.Event()
        self.names: list[str] = []
        self.error: Exception | None = None

    def save(self, key: AttentionKey, balanced: BalancedFactors) -> None:
        assert self.may_go.wait(LONG_SECONDS)
        self.names.append(key.image)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HeldStore]:
    store = HeldStore(tmp_path)
    yield store
    store.may_go.set()


def make_factors(cells: int = 4) -> BalancedFactors:
    values = torch.zeros((1, cells, 1))
    layer = LayerFactors(values, values, 1.0)
    return BalancedFactors(AttentionFactors((layer,), (cells, 1)), torch.zeros(cells), torch.zeros(cells))


def name(image: object) -> AttentionKey:
    return AttentionKey(str(image), "tests")


def test_images_are_written_in_order_and_each_is_finished(store: HeldStore) -> None:
    writer, finished = DiskWriter(store), []
    for number in range(4):
        writer.put(name(number), make_factors(), lambda number=number: finished.append((number, len(store.names))))
    assert finished == []
    store.may_go.set()
    writer.flush()
    assert store.names == ["0", "1", "2", "3"]
    assert finished == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("bounds", [{"most_images": 2}, {"most_bytes": 2 * make_factors().nbytes}])
def test_where_it_is_full_whoever_comes_waits_for_room(store: HeldStore, bounds: dict[str, int]) -> None:
    writer = DiskWriter(store, **bounds)
    for number in range(2):
        writer.put(name(number), make_factors())
    with ThreadPoolExecutor(1) as thread:
        third = thread.submit(writer.put, name(2), make_factors())
        with pytest.raises(TimeoutError):
            third.result(0.01)
        store.may_go.set()
        third.result(LONG_SECONDS)
    writer.flush()
    assert store.names == ["0", "1", "2"]


def test_a_disk_that_hangs_stops_nobody(store: HeldStore, caplog: pytest.LogCaptureFixture) -> None:
    writer, finished = DiskWriter(store, most_images=1, longest_full_seconds=0), []
    writer.put(name(0), make_factors())
    writer.put(name(1), make_factors(), lambda: finished.append(1))
    assert finished == [1]
    assert "an image is not kept on disk" in caplog.text
    store.may_go.set()
    writer.flush()
    assert store.names == ["0"]


def test_one_image_above_the_bound_is_written_alone(store: HeldStore) -> None:
    writer = DiskWriter(store, most_bytes=1)
    store.may_go.set()
    writer.put(name(0), make_factors())
    writer.flush()
    assert store.names == ["0"]


def test_an_image_that_cannot_be_written_keeps_no_other_from_it(
    store: HeldStore, caplog: pytest.LogCaptureFixture
) -> None:
    writer, finished = DiskWriter(store), []
    store.error = ValueError("the disk is made of cheese")
    store.may_go.set()
    for number in range(2):
        writer.put(name(number), make_factors(), lambda: finished.append(1))
        writer.flush()
    assert (store.names, finished) == (["0", "1"], [1, 1])
    assert "made of cheese" in caplog.text
