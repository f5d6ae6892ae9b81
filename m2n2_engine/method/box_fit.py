"""The object in a box: the regions of several places in it vote.

A region counts the more, the better its own bounding box fits the given one, the less of it lies outside, and the
sharper its border is. Its colours and cells should be those of the box's inside and not of what lies around.
"""

from __future__ import annotations

import math

import numpy as np

from m2n2_engine.method.candidates import cut_map
from m2n2_engine.method.colour_cut import refine_border
from m2n2_engine.method.correction import Step
from m2n2_engine.method.edge_map import EdgeMap
from m2n2_engine.method.evidence import Frame, Side, count_votes, score_box
from m2n2_engine.method.scene import Scene, weigh_cells, weigh_colours
from m2n2_engine.types import Box, Mask

_SURROUNDINGS = 0.25
"""Width of the band around a box that counts as its surroundings, as a share of the box's longer side. Here."""

_LEAST_SURROUNDINGS_CELLS = 1.5
"""The same, at least. Here."""

_SMALLEST_SHARE = 0.03
"""Share of the box that the smallest candidate takes. Here."""


def find_places(box: Box, per_side: int) -> list[tuple[float, float]]:
    """``per_side`` by ``per_side`` points (x, y) spread evenly over a box, in its own unit."""
    shares = [(index + 0.5) / per_side for index in range(per_side)]
    return [
        (box.left + (box.right - box.left) * across, box.top + (box.bottom - box.top) * down)
        for down in shares
        for across in shares
    ]


def frame_box(box: Box, image_size: tuple[int, int], scene: Scene) -> Frame:
    """A box of an image of ``image_size`` (H, W) at the scene's working size."""
    down, across = (working / full for working, full in zip(scene.size, image_size, strict=True))
    left, top, right, bottom = box.left * across, box.top * down, box.right * across, box.bottom * down
    y, x = np.ogrid[: scene.size[0], : scene.size[1]]
    inside = (x + 0.5 > left) & (x + 0.5 < right) & (y + 0.5 > top) & (y + 0.5 < bottom)
    # A box between the middles of pixels is the one pixel under its own middle.
    middle = (min(int((top + bottom) / 2), scene.size[0] - 1), min(int((left + right) / 2), scene.size[1] - 1))
    inside[middle] = True
    inner = (x + 0.5 > left + 1) & (x + 0.5 < right - 1) & (y + 0.5 > top + 1) & (y + 0.5 < bottom - 1)
    return Frame(left, top, right, bottom, inside, inside & ~inner)


def fit_box(frame: Frame, places: list[EdgeMap], scene: Scene) -> Step:
    """The mask of the object in a box, never outside of it.

    Args:
        frame: the box at working size.
        places: Markov-maps of places in it.
        scene: the image.
    """
    method = scene.method
    side = _find_side(frame, scene)
    every = np.ones(scene.size, bool)
    pixels = int(frame.inside.sum())
    ballots = []
    for place in places:
        sizes = _SMALLEST_SHARE * pixels, float(pixels)
        candidates = cut_map(place, every, sizes, math.inf, method.candidates, within=frame.inside)
        ballots.append(score_box(place, candidates, scene.appearance, side, method.box, method.edge_levels, frame))
    shares, edge = count_votes(ballots)
    inside = np.where(frame.inside, shares, 0)
    mask = inside > method.box_majority
    if not mask.any():
        mask = (inside == inside.max()) & frame.inside
    if method.colour_band_cells:
        image, difference = scene.appearance.image, scene.edge_difference
        mask = refine_border(mask, image, [], scene.band_pixels, difference=difference, outside=~frame.inside)
    return Step(mask, (), (edge,))


def _find_side(frame: Frame, scene: Scene) -> Side:
    longer = max(frame.right - frame.left, frame.bottom - frame.top)
    reach = max(_SURROUNDINGS * longer, _LEAST_SURROUNDINGS_CELLS * scene.cell_pixels)
    y, x = np.ogrid[: scene.size[0], : scene.size[1]]
    near: Mask = (x + 0.5 > frame.left - reach) & (x + 0.5 < frame.right + reach)
    near = near & (y + 0.5 > frame.top - reach) & (y + 0.5 < frame.bottom + reach)
    around = near & ~frame.inside
    colours = weigh_colours(scene.appearance, frame.inside, around)
    return Side(colours, weigh_cells(scene.appearance, scene.transition, frame.inside, around))
