"""A network that is loaded by the first image that needs it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from m2n2_engine.backbones import load_backbone
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.errors import WeightsCorrupt, WeightsUnavailable
from tests.helpers.imported import list_imported
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def config(embedded_weights: WeightsConfig) -> EngineConfig:
    return EngineConfig(embedded_weights, backbone="dinov2-small", device="cpu", grid=8, preset="consensus")


def test_it_is_named_before_it_is_loaded_and_says_the_same(config: EngineConfig) -> None:
    deferred = load_backbone(dataclasses.replace(config, defer_network=True)).backbone
    loaded = load_backbone(config).backbone
    assert (deferred.fingerprint, deferred.grid, deferred.device) == (loaded.fingerprint, loaded.grid, loaded.device)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    for _ in range(2):
        (found,), (expected,) = deferred.extract(image).layers, loaded.extract(image).layers
        torch.testing.assert_close(found.key, expected.key)


def test_weights_that_are_missing_or_damaged_are_named(config: EngineConfig, tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "dinov2-small"
    own = WeightsConfig(cache_folder=tmp_path, hub_cache_folder=tmp_path, offline=True)
    deferring = dataclasses.replace(config, weights=own, defer_network=True)
    with pytest.raises(WeightsUnavailable, match="offline mode forbids"):
        load_backbone(deferring)
    shutil.copytree(config.weights.cache_folder / "weights" / "dinov2-small", folder)
    backbone = load_backbone(deferring).backbone
    (folder / "model.safetensors").write_bytes(b"damaged")
    # Hashing them all takes longer than all else, so it is left to the first image that needs the network.
    for deferred in (backbone, backbone, load_backbone(deferring).backbone):
        with pytest.raises(WeightsCorrupt, match="should have sha256"):
            deferred.extract(np.zeros((9, 9, 3), np.uint8))


def test_the_command_line_does_not_load_the_network_for_an_image_on_disk(
    embedded_weights: WeightsConfig, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("M2N2_")} | {
        "PYTHONPATH": str(ROOT),
        "M2N2_CACHE_FOLDER": str(embedded_weights.cache_folder),
        "M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention"),
        "M2N2_OFFLINE": "true",
        "M2N2_DEVICE": "cpu",
        "M2N2_ZOOM": "false",
    }
    image = ROOT / "examples" / "astronaut.jpg"
    options = ["segment", image, "--point", "225,400", "-o", tmp_path / "m.png", "--grid", "8"]

    def run() -> frozenset[str]:
        return list_imported(*map(str, options), environment=environment)

    assert "transformers" in run()
    warm = run()
    assert {"torch", "numba"} <= warm
    # What neither the attention on disk nor the first click needs. Each of them takes its time.
    assert warm.isdisjoint(
        {"transformers", "diffusers", "torchvision", "requests", "flask", "gunicorn", "huggingface_hub", "pycocotools"}
        | {"scipy.spatial", "scipy.sparse.linalg", "torch._dynamo", "sympy", "matplotlib"}
        | {"PIL.PdfImagePlugin"}  # Pillow's reader of a format that is never opened
    )
