from __future__ import annotations

import numpy as np
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.method import reference
from m2n2_engine.method.chain import build_coarse_maps
from m2n2_engine.session.box import exclude_outside, find_seeds, surround
from m2n2_engine.types import Box

METHOD = MethodConfig(box_margin=0.05)
GRID = (12, 16)
SIZE = (110, 150)
"""Cells lie 10 pixels apart, the last ones on the border."""


def two_worlds(inner):
    """Walks on a grid whose cells attend, each to its own kind, by nearness."""
    y, x = np.mgrid[: GRID[0], : GRID[1]]
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    distance = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    same = inner.ravel()[:, None] == inner.ravel()[None]
    attention = torch.from_numpy(np.exp(-distance / 2) * np.where(same, 1.0, 0.01) + 1e-6).float()
    transition = reference.transition(attention / attention.sum(dim=1, keepdim=True), METHOD.chain)
    return lambda starts: build_coarse_maps(transition, starts, METHOD)


def test_seeds_lie_on_the_object_where_the_centre_does_not():
    """The object is the left and the lower side of its box, an L."""
    inner = np.zeros(GRID, bool)
    inner[2:10, 3:6] = inner[8:10, 3:13] = True
    box = Box(25, 15, 125, 95)
    seeds = find_seeds(box, SIZE, GRID, two_worlds(inner), METHOD)
    assert 1 < len(seeds) <= METHOD.box_seeds
    assert len(set(seeds)) == len(seeds)
    on_object = [inner[round(seed.y / 10), round(seed.x / 10)] for seed in seeds]
    assert np.mean(on_object) >= 0.8
    assert not inner[round(55 / 10), round(75 / 10)], "what a click at the centre would take"
    assert all(seed.positive and 25 < seed.x < 125 and 15 < seed.y < 95 for seed in seeds)


def test_a_box_without_cells_in_it_has_its_centre():
    (seed,) = find_seeds(Box(71, 51, 79, 59), SIZE, GRID, two_worlds(np.zeros(GRID, bool)), METHOD)
    assert (seed.x, seed.y) == (75, 55)


def test_around_a_box_of_the_whole_image_is_its_border():
    inner = np.zeros(GRID, bool)
    inner[3:9, 2:8] = True
    seeds = find_seeds(Box(0, 0, SIZE[1], SIZE[0]), SIZE, GRID, two_worlds(inner), METHOD)
    assert np.mean([inner[round(seed.y / 10), round(seed.x / 10)] for seed in seeds]) >= 0.6


def test_negative_clicks_surround_the_box_within_the_image():
    clicks = surround(Box(20, 20, 120, 60), SIZE, METHOD)
    assert len(clicks) == 8
    assert {(click.x, click.y) for click in clicks} == {
        (x, y) for x in (15, 70, 125) for y in (18, 40, 62) if (x, y) != (70, 40)
    }
    assert not any(click.positive for click in clicks)
    assert {click.x for click in surround(Box(0, 0, 75, 110), SIZE, METHOD)} == {78.75}
    assert surround(Box(0, 0, 150, 110), SIZE, METHOD) == []


def test_pixels_that_the_box_does_not_touch_are_excluded():
    mask = exclude_outside(np.ones((6, 8), bool), Box(1.5, 2, 4.2, 4))
    expected = np.zeros((6, 8), bool)
    expected[2:4, 1:5] = True
    assert np.array_equal(mask, expected)
