from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import Dinov2Config, Dinov2Model

from m2n2_engine.backbones import BACKBONES, choose_backbone, load_backbone
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError, WeightsUnavailable
from m2n2_engine.weights.catalogue import WEIGHTS


@pytest.fixture
def auto(weights_config: WeightsConfig) -> EngineConfig:
    return EngineConfig(weights=weights_config)


def test_importing_the_registry_imports_no_torch() -> None:
    code = "import sys, m2n2_engine.backbones; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_backbone_but_tiny_has_weights() -> None:
    assert set(BACKBONES) - {"tiny"} == set(WEIGHTS)


def test_unknown_name_says_what_is_allowed(auto: EngineConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown backbone 'sam'.*auto, dinov2-small,.*tiny"):
        load_backbone(dataclasses.replace(auto, backbone="sam"))


@pytest.mark.parametrize("grid", [1, 0, -8])
def test_a_grid_without_neighbours_is_refused(auto: EngineConfig, grid: int) -> None:
    with pytest.raises(
        ConfigurationError,
        match=f"a grid of {grid} cells|grid={grid} cannot be used: it must be a whole number above 0",
    ):
        load_backbone(dataclasses.replace(auto, backbone="tiny", grid=grid))


def test_a_named_backbone_was_asked_for(auto: EngineConfig) -> None:
    loaded = load_backbone(dataclasses.replace(auto, backbone="tiny", grid=10))
    assert (loaded.backbone.name, loaded.backbone.grid, loaded.reason) == ("tiny", (10, 10), "asked for")


def test_weights_that_cannot_be_had(auto: EngineConfig) -> None:
    with pytest.raises(WeightsUnavailable, match="m2n2 weights get dinov2-base"):
        load_backbone(dataclasses.replace(auto, backbone="dinov2-base"))


# --- auto


def test_without_cuda(auto: EngineConfig) -> None:
    assert choose_backbone(auto, "cpu") == ("dinov2-small", "no CUDA device")


def test_cuda_left_unused(auto: EngineConfig) -> None:
    unused = dataclasses.replace(auto, device="cpu")
    assert choose_backbone(unused, "cpu") == ("dinov2-small", "the device is set to cpu")


def test_apple_s_gpu_takes_the_embedded_network(auto: EngineConfig) -> None:
    asked = dataclasses.replace(auto, device="mps")
    assert choose_backbone(asked, "mps") == ("dinov2-small", "the device is set to mps")


def test_cuda_without_weights(auto: EngineConfig) -> None:
    name, reason = choose_backbone(auto, "cuda:0")
    assert name == "dinov2-small"
    assert "run `m2n2 weights get stable-diffusion-2`" in reason


def test_cuda_with_weights(auto: EngineConfig) -> None:
    for path in WEIGHTS["stable-diffusion-2"].list_files(half=True):
        file = auto.weights.cache_folder / "weights" / "stable-diffusion-2" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    name, reason = choose_backbone(auto, "cuda:0")
    assert name == "stable-diffusion-2"
    assert "at hand" in reason


def test_what_was_chosen_is_loaded_with_its_own_grid(auto: EngineConfig, tmp_path: Path) -> None:
    small = Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(small).save_pretrained(tmp_path)
    weights = dataclasses.replace(auto.weights, folder=tmp_path)
    loaded = load_backbone(dataclasses.replace(auto, weights=weights, device="cpu"))
    assert loaded.reason == "the device is set to cpu"
    backbone = loaded.backbone
    assert (backbone.name, backbone.grid, backbone.device) == ("dinov2-small", (48, 48), "cpu")


def test_stable_diffusion_has_a_larger_grid(auto: EngineConfig, parity_folder: Path) -> None:
    weights = dataclasses.replace(auto.weights, folder=parity_folder / "tiny-sd2")
    asked = dataclasses.replace(auto, weights=weights, backbone="stable-diffusion-2", device="cpu")
    backbone = load_backbone(asked).backbone
    assert (backbone.name, backbone.grid, backbone.device) == ("stable-diffusion-2", (128, 128), "cpu")


def test_auto_does_not_guess_whose_repository_it_is(auto: EngineConfig) -> None:
    mirror = dataclasses.replace(auto.weights, model_id="team/mirror")
    with pytest.raises(ConfigurationError, match="name the backbone"):
        load_backbone(dataclasses.replace(auto, weights=mirror))
