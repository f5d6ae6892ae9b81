"""The engine on all levels of its cache: the same mask from each, on the tiny backbone."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2_engine import engine as engine_module
from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone
from m2n2_engine.config import CONSTANT_KINDS, ChainConfig, Decision, EngineConfig, MethodConfig
from m2n2_engine.engine import Engine, build_engine
from m2n2_engine.errors import InvalidImage, OutOfMemory
from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.kernels.cpu.chain import balance_factors
from m2n2_engine.method.factors import AttentionFactors, BalancedFactors
from m2n2_engine.presets import PAPER, choose_method
from m2n2_engine.types import Click, Image, Level, Mask

DrawDisc = Callable[..., tuple[Image, Mask]]

pytestmark = pytest.mark.usefixtures("one_thread")

CLICKS = [Click(40, 36), Click(85.5, 10, positive=False)]
QUICK = MethodConfig(max_steps=100)


class WatchedBackbone:
    """The tiny backbone that counts the images that pass it and raises what it is told to."""

    def __init__(self) -> None:
        self.passed = 0
        self.errors: list[Exception] = []
        self._backbone = load_backbone(EngineConfig(backbone="tiny", device="cpu")).backbone
        self.name, self.grid, self.device = self._backbone.name, self._backbone.grid, self._backbone.device
        self.fingerprint = self._backbone.fingerprint

    def extract(self, image: Image) -> AttentionFactors:
        self.passed += 1
        if self.errors:
            raise self.errors.pop()
        return self._backbone.extract(image)


@pytest.fixture
def backbone() -> WatchedBackbone:
    return WatchedBackbone()


@pytest.fixture
def config(tmp_path: Path) -> EngineConfig:
    return EngineConfig(
        backbone="tiny", device="cpu", method=QUICK, disk_cache_bytes=2**30, disk_cache_folder=tmp_path / "attention"
    )


@pytest.fixture
def image(draw_disc: DrawDisc) -> Image:
    noise = np.random.default_rng(5).integers(0, 40, (72, 96, 3), np.uint8)
    return draw_disc()[0] + noise


def start(backbone: WatchedBackbone, config: EngineConfig) -> Engine:
    """An engine as a process of its own would have it."""
    method = choose_method(config, PAPER)
    return build_engine(LoadedBackbone(backbone, "asked for", method.constants, method.name), config)


def test_every_level_gives_the_same_mask_to_the_last_bit(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    first = start(backbone, dataclasses.replace(config, session_cache_bytes=1))
    fresh = first.segment(image, CLICKS)
    assert 0 < fresh.mask.mean() < 1
    first.segment(255 - image, CLICKS)  # drives the session out
    masks = {Level.HOST: (first.prepare(image), first.segment(image, CLICKS))}
    second = start(backbone, config)
    masks[Level.DISK] = (second.prepare(image), second.segment(image, CLICKS))
    masks[Level.DEVICE] = (second.prepare(image), second.segment(image, CLICKS))
    assert [level for level, _ in masks.values()] == list(masks)
    for level, (_, found) in masks.items():
        np.testing.assert_array_equal(found.mask, fresh.mask, err_msg=level)
        assert found.score == fresh.score
    assert backbone.passed == 2


def test_the_facts_count_every_level(backbone: WatchedBackbone, config: EngineConfig, image: Image) -> None:
    start(backbone, config).segment(image, CLICKS)
    engine = start(backbone, config)
    for _ in range(2):
        engine.segment(image, CLICKS)
    facts = engine.describe()
    levels = ("session", "host", "disk")
    assert [facts[f"{level}_images"] for level in levels] == [1, 1, 1]
    assert [(facts[f"{level}_hits"], facts[f"{level}_misses"]) for level in levels] == [(1, 1), (0, 1), (1, 0)]
    assert all(int(facts[f"{level}_bytes"] or 0) > 0 for level in levels)


CHANGES = {
    "image": lambda image: image ^ 1,
    "one pixel": lambda image: np.where(np.arange(image.size).reshape(image.shape) == 7, image ^ 1, image),
    "shape": lambda image: image.reshape(96, 72, 3),
    "channels": lambda image: image[:, :, ::-1],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_image_is_not_found(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, change: Callable[[Image], Image]
) -> None:
    start(backbone, config).prepare(image)
    engine = start(backbone, config)
    assert engine.prepare(change(image)) is Level.NETWORK
    assert engine.prepare(image.copy()) is Level.DISK


def change_constant(constant: str) -> MethodConfig:
    match QUICK.constants()[constant]:
        case None:
            changed: object = 8.0
        case Decision():
            changed = Decision.STEPWISE
        case int(value):
            changed = value + 1
        case value:
            changed = value * 1.01
    return QUICK.replace(**{constant: changed})


@pytest.mark.parametrize("constant", CONSTANT_KINDS)
def test_only_a_constant_of_the_chain_makes_another_image(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, constant: str
) -> None:
    """An image that was warmed stays warm under another working size, area limit or margin of boxes."""
    start(backbone, config).prepare(image)
    other = dataclasses.replace(config, method=change_constant(constant))
    is_of_the_chain = constant in [field.name for field in dataclasses.fields(ChainConfig)]
    assert start(backbone, other).prepare(image) is (Level.NETWORK if is_of_the_chain else Level.DISK)


def test_another_backbone_or_release_is_another_image(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(backbone, config).prepare(image)
    assert start(backbone, config).prepare(image) is Level.DISK
    backbone.fingerprint += " of another revision"
    assert start(backbone, config).prepare(image) is Level.NETWORK
    monkeypatch.setattr(engine_module, "__version__", "next")
    assert start(backbone, config).prepare(image) is Level.NETWORK


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"weights": "other"},
        {"grid": (8, 9)},
        {"dtype": torch.float16},
        {"layers": 1, "layer": {"name": "other"}},
        {"layers": 1, "layer": {"weight": 0.25}},
        {"layers": 2},
    ],
    ids=str,
)
def test_the_fingerprint_tells_every_part_of_a_backbone(change: dict[str, object]) -> None:
    module = torch.nn.Identity()

    def fingerprint(layers: int = 1, layer: dict[str, object] | None = None, **given: object) -> str:
        arguments = {"name": "a", "weights": "w", "grid": (8, 8), "dtype": torch.float32, "device": "cpu", **given}
        read = {"name": "attention", "query": module, "key": module, "heads": 1, **(layer or {})}
        found = HookedBackbone(run=lambda image: None, layers=[AttentionLayer(**read)] * layers, **arguments)  # type: ignore[arg-type]
        return found.fingerprint

    assert fingerprint(**change) != fingerprint()  # type: ignore[arg-type]
    assert fingerprint() == fingerprint()


def test_out_of_memory_leaves_nothing_at_any_level(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    engine = start(backbone, config)
    backbone.errors = [torch.OutOfMemoryError("no room")] * 2
    with pytest.raises(OutOfMemory):
        engine.segment(image, CLICKS)
    facts = engine.describe()
    assert [facts[f"{level}_images"] for level in ("session", "host", "disk")] == [0, 0, 0]
    assert engine.prepare(image) is Level.NETWORK


def test_out_of_memory_on_the_device_after_the_network_does_not_pass_it_again(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [torch.OutOfMemoryError("no room")]
    session = engine_module.Session

    def open_session(*arguments: object) -> object:
        if errors:
            raise errors.pop()
        return session(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine_module, "Session", open_session)
    assert start(backbone, config).prepare(image) is Level.HOST
    assert backbone.passed == 1


def test_a_click_out_of_memory_is_tried_again_without_the_idle_sessions(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(backbone, config)
    expected = engine.segment(image, CLICKS).mask
    engine.prepare(image[::-1])
    errors = [torch.OutOfMemoryError("no room")]
    segment = engine_module.Session.segment

    def fail_first(*arguments: object) -> object:
        if errors:
            raise errors.pop()
        return segment(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine_module.Session, "segment", fail_first)
    np.testing.assert_array_equal(engine.segment(image, CLICKS).mask, expected)
    assert engine.describe()["session_images"] == 1
    errors += [torch.OutOfMemoryError("no room")] * 2
    with pytest.raises(OutOfMemory, match="smaller"):
        engine.segment(image, CLICKS)


def test_a_build_out_of_memory_gives_all_back_before_the_next_try(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Image]] = []

    def balance(factors: AttentionFactors, method: MethodConfig) -> tuple[BalancedFactors, torch.Tensor]:
        if held:
            assert held[0]() is None
            return balance_factors(factors, method)
        large = np.zeros(4, np.uint8)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(CpuKernels, "balance_factors", staticmethod(balance))
    gc.disable()  # what hangs in a cycle would be freed by chance
    try:
        assert start(backbone, config).prepare(image) is Level.NETWORK
    finally:
        gc.enable()
    assert held


def test_the_budget_of_resident_images_suits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (6000, 8000))
    choose = engine_module.choose_session_cache_bytes
    assert choose(EngineConfig(), "cpu") == 2048 * 2**20
    assert choose(EngineConfig(), "cuda:0") == 3000
    assert choose(EngineConfig(session_cache_bytes=5), "cuda:0") == 5


def test_warming_up_runs_the_network_each_time_and_stores_nothing(
    backbone: WatchedBackbone, config: EngineConfig
) -> None:
    for starts in (1, 2):
        engine = start(backbone, config)
        engine.warm_up()
        assert backbone.passed == starts
        facts = engine.describe()
        assert [facts[f"{level}_{name}"] for level in ("session", "host") for name in ("images", "misses")] == [0] * 4
    assert not config.disk_cache_folder.exists()


def test_a_library_writes_nothing_unasked(backbone: WatchedBackbone, image: Image, tmp_path: Path) -> None:
    folder = tmp_path / "attention"
    start(backbone, EngineConfig(method=QUICK, disk_cache_folder=folder)).prepare(image)
    assert not folder.exists()


def test_where_an_image_would_be_found_is_known_without_looking_into_it(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    engine = start(backbone, config)
    before = engine.describe()
    assert engine.find_level(image) is Level.NETWORK
    assert (backbone.passed, engine.describe()) == (0, before)
    assert engine.prepare(image) is Level.NETWORK
    assert engine.find_level(image) is Level.DEVICE
    engine._cache.drop_idle()
    assert engine.find_level(image) is Level.HOST
    assert start(backbone, config).find_level(image) is Level.DISK
    assert start(backbone, dataclasses.replace(config, disk_cache_bytes=0)).find_level(image) is Level.NETWORK
    with pytest.raises(InvalidImage):
        engine.find_level(image[0])


def test_an_image_that_is_being_prepared_is_not_found_yet(
    backbone: WatchedBackbone, config: EngineConfig, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(backbone, config)
    extract, seen = backbone.extract, []

    def look(asked: Image) -> AttentionFactors:
        seen.append(engine.find_level(asked))
        return extract(asked)

    monkeypatch.setattr(backbone, "extract", look)
    engine.prepare(image)
    assert seen == [Level.NETWORK]
