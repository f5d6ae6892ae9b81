from __future__ import annotations

import numpy as np
import torch

from m2n2_engine.backbones import TINY_GRID, Backbone, load_backbone
from m2n2_engine.config import EngineConfig, WeightsConfig
from m2n2_engine.kernels.cpu.chain import build_attention


def _disc(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on green, and where it is."""
    y, x = np.mgrid[:size, :size]
    inside = (x - 0.4 * size) ** 2 + (y - 0.5 * size) ** 2 < (0.25 * size) ** 2
    return np.where(inside[..., None], (200, 40, 40), (60, 120, 60)).astype(np.uint8), inside


def test_attention_stays_on_its_side_of_an_edge(weights_config: WeightsConfig) -> None:
    image, _ = _disc(4 * TINY_GRID)
    attention = build_attention(_load(weights_config).extract(image)).numpy()
    on_disc = _disc(TINY_GRID)[1].ravel()
    assert attention[np.ix_(on_disc, on_disc)].sum(axis=1).mean() > 0.9
    assert attention[np.ix_(~on_disc, ~on_disc)].sum(axis=1).mean() > 0.9


def test_attention_falls_with_distance(weights_config: WeightsConfig) -> None:
    plain = np.full((50, 70, 3), 128, np.uint8)
    row = build_attention(_load(weights_config).extract(plain))[0].reshape(TINY_GRID, TINY_GRID)
    assert (row[0].diff() < 0).all()
    assert (row[:, 0].diff() < 0).all()


def test_every_machine_builds_the_same_network(weights_config: WeightsConfig) -> None:
    image, _ = _disc(40)
    first, second = (_load(weights_config) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert torch.equal(first.extract(image).layers[0].query, second.extract(image).layers[0].query)


def test_the_smallest_image_passes(weights_config: WeightsConfig) -> None:
    attention = build_attention(_load(weights_config).extract(np.zeros((1, 1, 3), np.uint8)))
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(TINY_GRID**2))


def _load(config: WeightsConfig) -> Backbone:
    return load_backbone(EngineConfig(weights=config, backbone="tiny", device="cpu")).backbone
