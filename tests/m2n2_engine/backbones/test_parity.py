"""Image -> attention against the method's reference implementation, and the behaviour of the pretrained networks."""

from __future__ import annotations

import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2_engine.backbones import Backbone, load_backbone, stable_diffusion
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.errors import WeightsCorrupt
from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.kernels.cpu.chain import build_attention
from m2n2_engine.method.chain import AttentionFactors

PIPELINES = {"tiny-sd1": "stable-diffusion-1-5", "tiny-sd2": "stable-diffusion-2"}
GRID = 16


def _load(name: str, config: WeightsConfig) -> Backbone:
    return load_backbone(EngineConfig(weights=config, backbone=name, device="cpu", grid=GRID)).backbone


def _error(factors: AttentionFactors, expected: np.ndarray) -> float:
    """Largest difference as a share of the largest expected value."""
    attention = build_attention(factors).numpy()
    return float(np.abs(attention - expected.reshape(attention.shape)).max() / expected.max())


@pytest.fixture
def model(parity_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Stable Diffusion 2 that a test may spoil."""
    return shutil.copytree(parity_folder / "tiny-sd2", tmp_path / "model")


@pytest.fixture
def pipeline(model: Path, tmp_path: Path) -> WeightsConfig:
    return WeightsConfig(cache_folder=tmp_path / "cache", folder=model)


@pytest.mark.parametrize("pipeline_name", PIPELINES)
def test_stable_diffusion(pipeline_name: str, parity_folder: Path, tmp_path: Path) -> None:
    reference = np.load(parity_folder / f"{pipeline_name}-attention.npz")
    config = WeightsConfig(cache_folder=tmp_path, folder=parity_folder / pipeline_name)
    factors = _load(PIPELINES[pipeline_name], config).extract(reference["image"])
    assert factors.grid == (GRID, GRID)
    assert {projected.itemsize for layer in factors.layers for projected in (layer.query, layer.key)} == {2}
    assert _error(factors, reference["attention"]) <= 5e-4
    (stored,) = (tmp_path / "weights").iterdir()
    np.testing.assert_allclose(np.load(stored), reference["prompt_embedding"], atol=1e-5)


def test_the_vae_is_given_to_the_kernels_of_its_device(
    pipeline: WeightsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted: list[tuple[str, str]] = []

    class Kernels(CpuKernels):
        def __init__(self, name: str) -> None:
            self.name = name

        def replace_modules(self, network: torch.nn.Module) -> None:  # type: ignore[override]
            adapted.append((self.name, type(network).__name__))

    monkeypatch.setattr(stable_diffusion, "choose_kernels", Kernels)
    _load("stable-diffusion-2", pipeline)
    assert adapted == [("cpu", "AutoencoderKL")]


def test_embedded_dinov2(parity_folder: Path, embedded_weights: WeightsConfig) -> None:
    reference = np.load(parity_folder / "flowers_dinov2_16.npz")
    factors = _load("dinov2-small", embedded_weights).extract(reference["image"])
    assert [(layer.query.shape, layer.special_tokens) for layer in factors.layers] == [((6, GRID**2 + 1, 64), 1)]
    assert _error(factors, reference["attention"]) <= 1e-4


def test_the_text_encoder_loads_once(pipeline: WeightsConfig, model: Path) -> None:
    _load("stable-diffusion-2", pipeline)
    (encoder,) = (model / "text_encoder").glob("*.safetensors")
    stat = encoder.stat()
    encoder.write_bytes(bytes(stat.st_size))  # what no longer loads, but looks the same to the store
    os.utime(encoder, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    _load("stable-diffusion-2", pipeline)
    shutil.rmtree(pipeline.cache_folder)
    with pytest.raises(WeightsCorrupt):
        _load("stable-diffusion-2", pipeline)


def test_a_cache_that_cannot_be_written_does_no_harm(pipeline: WeightsConfig) -> None:
    pipeline.cache_folder.write_text("a file where the folder should be")
    _load("stable-diffusion-2", pipeline)


def test_a_damaged_stored_embedding_is_made_again(pipeline: WeightsConfig) -> None:
    _load("stable-diffusion-2", pipeline)
    (stored,) = (pipeline.cache_folder / "weights").iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(whole[:100])
    _load("stable-diffusion-2", pipeline)
    assert stored.read_bytes() == whole


def test_half_precision_files_serve_on_the_processor(pipeline: WeightsConfig, model: Path, parity_folder: Path) -> None:
    for file in model.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    reference = np.load(parity_folder / "tiny-sd2-attention.npz")
    factors = _load("stable-diffusion-2", pipeline).extract(reference["image"])
    assert factors.layers[0].query.dtype == torch.int16
    assert _error(factors, reference["attention"]) <= 5e-4


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_truncated_file_is_corrupt(pipeline: WeightsConfig, model: Path, part: str) -> None:
    (file,) = (model / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsCorrupt, match=r"stable-diffusion-2 in .*`m2n2 weights get stable-diffusion-2 --force`"):
        _load("stable-diffusion-2", pipeline)


def test_loading_is_silent(pipeline: WeightsConfig, capfd: pytest.CaptureFixture[str]) -> None:
    _load("stable-diffusion-2", pipeline)
    assert capfd.readouterr() == ("", "")


def test_threads_with_two_images_agree_with_one(pipeline: WeightsConfig, parity_folder: Path) -> None:
    backbone = _load("stable-diffusion-2", pipeline)
    images = [np.load(parity_folder / f"{name}.npz")["image"] for name in ("flowers_dinov2_16", "tiny-sd2-attention")]
    alone = [backbone.extract(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(backbone.extract, images * 8))
    for expected, found in zip(alone * 8, together, strict=True):
        for one, other in zip(expected.layers, found.layers, strict=True):
            assert torch.equal(one.query, other.query)
            assert torch.equal(one.key, other.key)


def test_fingerprint_follows_weights_and_grid(pipeline: WeightsConfig, model: Path) -> None:
    config = EngineConfig(weights=pipeline, backbone="stable-diffusion-2", device="cpu", grid=GRID)
    first = load_backbone(config).backbone.fingerprint
    assert load_backbone(config).backbone.fingerprint == first
    other_grid = load_backbone(dataclasses.replace(config, grid=GRID + 8)).backbone.fingerprint
    (model / "unet" / "config.json").touch()
    other_weights = load_backbone(config).backbone.fingerprint
    assert len({first, other_grid, other_weights}) == 3
