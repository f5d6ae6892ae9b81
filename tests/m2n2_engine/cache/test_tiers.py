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

from m2n2_engine import __version__
from m2n2_engine import engine as engine_module
from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.backbones.capture import AttentionLayer, HookedBackbone
from m2n2_engine.config import CONSTANT_KINDS, ChainConfig, Decision, EngineConfig, MethodConfig
from m2n2_engine.engine import Engine, build_engine, choose_session_cache_bytes
from m2n2_engine.errors import InvalidImage, OutOfMemory
from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.kernels.cpu.chain import balance_factors
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors
from m2n2_engine.presets import PAPER, choose_method
from m2n2_engine.types import Click, Image, Mask, Tier

DrawDisc = Callable[..., tuple[Image, Mask]]

pytestmark = pytest.mark.usefixtures("one_thread")

CLICKS = [Click(40, 36), Click(85.5, 10, positive=False)]
QUICK = MethodConfig(max_steps=100)


class WatchedBackbone:
    """The tiny backbone that counts the images that pass it, calls ``before`` with each, and raises what it is told
    to."""

    def __init__(self) -> None:
        self.passed = 0
        self.before: Callable[[Image], object] = lambda image: None
        self.errors: list[Exception] = []
        self._backbone = load_backbone(EngineConfig(backbone="tiny", device="cpu")).backbone
        self.name, self.grid, self.device = self._backbone.name, self._backbone.grid, self._backbone.device
        self.fingerprint = self._backbone.fingerprint

    def extract(self, image: Image) -> AttentionFactors:
        self.passed += 1
        self.before(image)
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


def start(backbone: WatchedBackbone, config: EngineConfig, release: str = __version__) -> Engine:
    """An engine as a process of its own would have it."""
    method = choose_method(config, PAPER)
    return build_engine(LoadedBackbone(backbone, "asked for", method.constants, method.name), config, release)


def test_every_level_gives_the_same_mask_to_the_last_bit(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    first = start(backbone, dataclasses.replace(config, session_cache_bytes=1))
    fresh = first.segment(image, CLICKS)
    assert 0 < fresh.mask.mean() < 1
    first.segment(255 - image, CLICKS)  # drives the session out
    masks = {Tier.HOST: (first.prepare(image), first.segment(image, CLICKS))}
    second = start(backbone, config)
    masks[Tier.DISK] = (second.prepare(image), second.segment(image, CLICKS))
    masks[Tier.DEVICE] = (second.prepare(image), second.segment(image, CLICKS))
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
    tiers = engine.status().tiers
    assert list(tiers) == [Tier.DEVICE, Tier.HOST, Tier.DISK]
    assert [tier.images for tier in tiers.values()] == [1, 1, 1]
    assert [(tier.hits, tier.misses) for tier in tiers.values()] == [(1, 1), (0, 1), (1, 0)]
    assert all(tier.bytes > 0 for tier in tiers.values())


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
    assert engine.prepare(change(image)) is Tier.NETWORK
    assert engine.prepare(image.copy()) is Tier.DISK


def change_constant(constant: str) -> MethodConfig:
    match QUICK.constants()[constant]:
        case None:
            changed: object = 8.0
        case Decision():
            changed = Decision.CONSENSUS
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
    assert start(backbone, other).prepare(image) is (Tier.NETWORK if is_of_the_chain else Tier.DISK)


def test_another_backbone_or_release_is_another_image(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    start(backbone, config).prepare(image)
    assert start(backbone, config).prepare(image) is Tier.DISK
    backbone.fingerprint += " of another revision"
    assert start(backbone, config).prepare(image) is Tier.NETWORK
    assert start(backbone, config, release="next").prepare(image) is Tier.NETWORK


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
    assert [tier.images for tier in engine.status().tiers.values()] == [0, 0, 0]
    assert engine.prepare(image) is Tier.NETWORK


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
    assert start(backbone, config).prepare(image) is Tier.HOST
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
    assert engine.status().tiers[Tier.DEVICE].images == 1
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
        assert start(backbone, config).prepare(image) is Tier.NETWORK
    finally:
        gc.enable()
    assert held


@pytest.mark.parametrize(
    ("config", "device", "expected"),
    [
        (EngineConfig(), "cpu", 2048 * 2**20),
        (EngineConfig(), "cuda:0", 3000),
        (EngineConfig(session_cache_bytes=5), "cuda:0", 5),
    ],
)
def test_the_budget_of_resident_images_suits_the_device(config: EngineConfig, device: str, expected: int) -> None:
    assert choose_session_cache_bytes(config, device, lambda device: (6000, 8000)) == expected


def test_warming_up_runs_the_network_each_time_and_stores_nothing(
    backbone: WatchedBackbone, config: EngineConfig
) -> None:
    for starts in (1, 2):
        engine = start(backbone, config)
        engine.warm_up()
        assert backbone.passed == starts
        tiers = engine.status().tiers
        assert [(tiers[tier].images, tiers[tier].misses) for tier in (Tier.DEVICE, Tier.HOST)] == [(0, 0)] * 2
    assert not config.disk_cache_folder.exists()


def test_a_library_writes_nothing_unasked(backbone: WatchedBackbone, image: Image, tmp_path: Path) -> None:
    folder = tmp_path / "attention"
    start(backbone, EngineConfig(method=QUICK, disk_cache_folder=folder)).prepare(image)
    assert not folder.exists()


def test_where_an_image_would_be_found_is_known_without_looking_into_it(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    engine = start(backbone, dataclasses.replace(config, session_cache_bytes=1))
    before = engine.status()
    assert engine.find_tier(image) is Tier.NETWORK
    assert (backbone.passed, engine.status()) == (0, before)
    assert engine.prepare(image) is Tier.NETWORK
    assert engine.find_tier(image) is Tier.DEVICE
    engine.prepare(image[::-1])  # the budget is for one session
    assert engine.find_tier(image) is Tier.HOST
    engine.flush()
    assert start(backbone, config).find_tier(image) is Tier.DISK
    assert start(backbone, dataclasses.replace(config, disk_cache_bytes=0)).find_tier(image) is Tier.NETWORK
    with pytest.raises(InvalidImage):
        engine.find_tier(image[0])


def test_an_image_that_is_being_prepared_is_not_found_yet(
    backbone: WatchedBackbone, config: EngineConfig, image: Image
) -> None:
    engine = start(backbone, config)
    seen = []
    backbone.before = lambda asked: seen.append(engine.find_tier(asked))
    engine.prepare(image)
    assert seen == [Tier.NETWORK]
