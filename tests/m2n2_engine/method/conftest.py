"""Two red squares on blue, as a decision by consensus sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from m2n2_engine.method.edge_map import EdgeMap, find_edges
from m2n2_engine.method.scene import Scene, look_at
from m2n2_engine.presets import CONSENSUS, PRESETS
from m2n2_engine.types import Image

GRID = (12, 20)
METHOD = PRESETS[CONSENSUS]

MakeScene = Callable[..., Scene]
DrawMap = Callable[[tuple[float, float]], EdgeMap]


@pytest.fixture
def image() -> Image:
    """(60, 100, 3)."""
    image = np.full((60, 100, 3), (30, 40, 160), np.uint8)
    image[20:41, 10:31] = image[20:41, 60:81] = (220, 60, 40)
    return image


@pytest.fixture
def make_scene(image: Image) -> MakeScene:
    """Its scene, with other constants in place of some; each cell goes to those of its own colour."""
    red = image[2::5, 2::5, 0].ravel() > 100
    transition = torch.from_numpy(np.where(red[:, None] == red[None], 1.0, 0.01) / red.size).float()
    return lambda **constants: look_at(image, transition, GRID, dataclasses.replace(METHOD, **constants))


@pytest.fixture
def draw_map() -> DrawMap:
    """A place (x, y) -> its map: 0 on the square of 21 pixels around it, 1 elsewhere."""

    def draw(point: tuple[float, float]) -> EdgeMap:
        y, x = np.mgrid[:60, :100]
        near = (abs(x - int(point[0])) <= 10) & (abs(y - int(point[1])) <= 10)
        values = np.where(near, 0, 1).astype(np.float32)
        return find_edges(values, (int(point[0]), int(point[1])), METHOD.edge_levels)

    return draw
