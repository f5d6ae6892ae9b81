from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from m2n2_engine.backbones import BACKBONES, choose_device, dinov2, load_backbone, stable_diffusion
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError, WeightsUnavailable
from m2n2_engine.weights import store

Asked = list[tuple[str, tuple[int, int], str]]


@pytest.fixture
def auto(weights_config: WeightsConfig) -> EngineConfig:
    return EngineConfig(weights=weights_config)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What would have been loaded."""
    asked: Asked = []

    def load(
        name: str, grid: tuple[int, int], device: str, _config: WeightsConfig, _key_sharpness: float | None
    ) -> object:
        asked.append((name, grid, device))
        return object()

    monkeypatch.setattr(dinov2, "load", load)
    monkeypatch.setattr(stable_diffusion, "load", load)
    return asked


def _set_cuda_devices(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_importing_the_registry_imports_no_torch() -> None:
    code = "import sys, m2n2_engine.backbones; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_backbone_but_tiny_has_weights() -> None:
    assert set(BACKBONES) - {"tiny"} == set(store.WEIGHTS)


def test_unknown_name_says_what_is_allowed(auto: EngineConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown backbone 'sam'.*auto, dinov2-small,.*tiny"):
        load_backbone(dataclasses.replace(auto, backbone="sam"))


@pytest.mark.parametrize("grid", [1, 0, -8])
def test_a_grid_without_neighbours_is_refused(auto: EngineConfig, grid: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a grid of {grid} cells"):
        load_backbone(dataclasses.replace(auto, backbone="tiny", grid=grid))


def test_a_named_backbone_was_asked_for(auto: EngineConfig) -> None:
    loaded = load_backbone(dataclasses.replace(auto, backbone="tiny", grid=10))
    assert (loaded.backbone.name, loaded.backbone.grid, loaded.reason) == ("tiny", (10, 10), "asked for")


def test_weights_that_cannot_be_had(auto: EngineConfig) -> None:
    with pytest.raises(WeightsUnavailable, match="m2n2 weights get dinov2-base"):
        load_backbone(dataclasses.replace(auto, backbone="dinov2-base"))


# --- auto


def test_without_cuda(auto: EngineConfig, loaded: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_cuda_devices(monkeypatch, 0)
    assert load_backbone(auto).reason == "no CUDA device"
    assert loaded == [("dinov2-small", (48, 48), "cpu")]


def test_cuda_left_unused(auto: EngineConfig, loaded: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_cuda_devices(monkeypatch, 1)
    assert load_backbone(dataclasses.replace(auto, device="cpu")).reason == "the device is set to cpu"
    assert loaded == [("dinov2-small", (48, 48), "cpu")]


def test_cuda_without_weights(auto: EngineConfig, loaded: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_cuda_devices(monkeypatch, 1)
    monkeypatch.setattr(store, "is_at_hand", lambda _name, _config: False)
    assert "run `m2n2 weights get stable-diffusion-2`" in load_backbone(auto).reason
    assert loaded == [("dinov2-small", (48, 48), "cuda:0")]


def test_cuda_with_weights(auto: EngineConfig, loaded: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_cuda_devices(monkeypatch, 1)
    monkeypatch.setattr(store, "is_at_hand", lambda name, _config: name == "stable-diffusion-2")
    assert "at hand" in load_backbone(auto).reason
    assert loaded == [("stable-diffusion-2", (128, 128), "cuda:0")]


def test_auto_does_not_guess_whose_repository_it_is(auto: EngineConfig) -> None:
    mirror = dataclasses.replace(auto.weights, model_id="team/mirror")
    with pytest.raises(ConfigurationError, match="name the backbone"):
        load_backbone(dataclasses.replace(auto, weights=mirror))


# --- devices


@pytest.mark.parametrize(
    ("asked", "count", "device"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cuda", 2, "cuda:0"), ("cuda:1", 2, "cuda:1"), ("cpu", 2, "cpu")],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, asked: str, count: int, device: str) -> None:
    _set_cuda_devices(monkeypatch, count)
    assert choose_device(asked) == device


@pytest.mark.parametrize(("asked", "count"), [("cuda", 0), ("cuda:1", 1), ("mps", 0), ("cuda:x", 1)])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, asked: str, count: int) -> None:
    _set_cuda_devices(monkeypatch, count)
    with pytest.raises(ConfigurationError, match=rf"no device '{asked}' on this machine: use one of auto, cpu"):
        choose_device(asked)
