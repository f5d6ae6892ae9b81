"""An image as regions of like colour, and a random walk over them.

The walk is a second Markov chain. Its states are regions of a few pixels, so it keeps to the image's edges. Its steps
follow the transition matrix of the first chain, colours and edges, and lead to neighbours only, so look-alikes
elsewhere are far away. Clicks end it: each region gets the chance that a walk from it ends at a positive click (Grady,
Random walks for image segmentation, 2006).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.types import Image, Map, Mask

_LEAST_LINK = 1e-3
"""Added to every link, so that no region is out of reach. Here."""

_CERTAIN = 1e6
"""Pull of a click on its region, as a multiple of all links of the region: nothing stands against it."""

_Floats = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Regions:
    """An image cut into regions. labels: (H, W) int64, 0 to count - 1. count: of them. sizes: (count,) pixels. first,
    second: (links,) the regions that each link joins. strengths: (links,) above 0."""

    labels: _Indices
    count: int
    sizes: _Floats
    first: _Indices
    second: _Indices
    strengths: _Floats

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(array.nbytes for array in (self.labels, self.sizes, self.first, self.second, self.strengths))


def cut_regions(
    image: Image, lab: Map, edges: Map, transition: torch.Tensor, grid: tuple[int, int], method: MethodConfig
) -> Regions:
    """The regions of an image and their links.

    Args:
        image: RGB uint8 ``(H, W, 3)``.
        lab: the same in 8-bit CIE Lab, float32.
        edges: ``(H, W)``, mean change of ``lab`` a pixel.
        transition: ``(n, n)``, any multiple of probabilities, on any device.
        grid: ``(h, w)`` cells, ``n = h * w``.
        method: the constants of regions.
    """
    labels = _flood(image, edges, max(method.region_pixels, 2))
    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count).astype(float)
    first, second, lengths, between = _find_links(labels, edges, count)
    colours = np.stack([_mean(labels, channel, sizes) for channel in np.moveaxis(lab, 2, 0)], axis=1)
    differences = np.linalg.norm(colours[first] - colours[second], axis=1)
    costs = differences / method.region_colour_scale + between / method.region_edge_scale
    costs += method.region_chain_weight * _find_chain_costs(labels, sizes, transition, grid, first, second)
    return Regions(labels, count, sizes, first, second, lengths * (np.exp(-costs) + _LEAST_LINK))


def walk_regions(
    regions: Regions, clicked: dict[tuple[int, int], bool], before: Mask, previous_mask_weight: float
) -> Map:
    """The chance ``(H, W)``, 0 to 1, that a walk from each pixel ends in the object.

    Args:
        clicked: sign of each clicked pixel ``(x, y)``; the last of a region counts.
        before: mask ``(H, W)`` so far.
        previous_mask_weight: chance, at each step, of ending in what ``before`` says.
    """
    # Imported here: one click alone, as `m2n2 segment` often has it, need not wait for it.
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    seeds = {int(regions.labels[y, x]): positive for (x, y), positive in clicked.items()}
    shape = (regions.count, regions.count)
    links = sparse.coo_matrix((regions.strengths, (regions.first, regions.second)), shape)
    links = (links + links.T).tocsc()
    total = np.asarray(links.sum(axis=1)).ravel() + _LEAST_LINK  # a single region has no links
    prior = previous_mask_weight * total
    target = prior * _mean(regions.labels, before.astype(float), regions.sizes)
    at = list(seeds)
    prior[at] += _CERTAIN * total[at]
    target[at] += _CERTAIN * total[at] * np.array(list(seeds.values()), float)
    chance = np.atleast_1d(spsolve((sparse.diags(total + prior) - links).tocsc(), target))
    return np.asarray(np.clip(chance, 0, 1)[regions.labels], np.float32)


def _flood(image: Image, edges: Map, side: int) -> _Indices:
    """Labels ``(H, W)`` of one region for each square of ``side`` pixels, flooded from its flattest place."""
    markers = np.zeros(edges.shape, np.int32)
    for number, (y, x) in enumerate(_find_flattest(edges, side), start=1):
        markers[y, x] = number
    # OpenCV leaves the image's own border out.
    smooth = cv2.copyMakeBorder(cv2.GaussianBlur(image, (0, 0), 0.8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    flooded = cv2.watershed(smooth, np.pad(markers, 1))[1:-1, 1:-1].copy()
    flooded[markers > 0] = markers[markers > 0]
    while (is_line := flooded <= 0).any():
        widened = cv2.dilate(np.where(is_line, 0, flooded).astype(np.float32), np.ones((3, 3)))
        flooded[is_line] = widened[is_line].astype(np.int32)
    return np.asarray(flooded, np.int64) - 1


def _find_flattest(edges: Map, side: int) -> list[tuple[int, int]]:
    """(y, x) of the least edge in the middle of each square."""
    middle = slice(side // 4, side - side // 4)
    rows, columns = (-(-size // side) for size in edges.shape)
    padded = np.full((rows * side, columns * side), np.inf, np.float32)
    padded[: edges.shape[0], : edges.shape[1]] = edges
    squares = padded.reshape(rows, side, columns, side).swapaxes(1, 2)
    found = []
    for row, column in np.ndindex(rows, columns):
        square = squares[row, column]
        inner = square[middle, middle]
        if np.isinf(inner).all():
            inner, offset = square, 0  # the image ends before the middle
        else:
            offset = middle.start
        y, x = np.unravel_index(int(inner.argmin()), inner.shape)
        found.append((row * side + offset + int(y), column * side + offset + int(x)))
    return found


def _find_links(labels: _Indices, edges: Map, count: int) -> tuple[_Indices, _Indices, _Floats, _Floats]:
    """Of each pair of regions that touch: both, how many pixels wide, and the mean edge between them."""
    pairs = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    heights = [np.maximum(edges[:, :-1], edges[:, 1:]), np.maximum(edges[:-1], edges[1:])]
    one, other = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    height = np.concatenate([each.ravel() for each in heights])
    touches = one != other
    names = np.minimum(one, other)[touches] * count + np.maximum(one, other)[touches]
    found, places = np.unique(names, return_inverse=True)
    lengths = np.bincount(places, minlength=len(found)).astype(float)
    between = np.bincount(places, height[touches], len(found)) / np.maximum(lengths, 1)
    return found // count, found % count, lengths, between


def _find_chain_costs(
    labels: _Indices,
    sizes: _Floats,
    transition: torch.Tensor,
    grid: tuple[int, int],
    first: _Indices,
    second: _Indices,
) -> _Floats:
    """Of each link, minus the logarithm of the transition between its regions, as a share of those within each."""
    cells, shares = _spread_over_cells(labels, sizes, grid)

    def gather(one: _Indices, other: _Indices) -> _Floats:
        rows, columns = (torch.from_numpy(cells[each]).to(transition.device) for each in (one, other))
        values = transition[rows[:, :, None], columns[:, None, :]].double().cpu().numpy()
        return np.asarray(np.einsum("kij,ki,kj->k", values, shares[one], shares[other]))

    every = np.arange(len(sizes))
    within = np.sqrt(gather(every, every))
    relative = gather(first, second) / np.maximum(within[first] * within[second], 1e-30)
    return np.asarray(-np.log(np.clip(relative, 1e-6, 1)))


def _spread_over_cells(labels: _Indices, sizes: _Floats, grid: tuple[int, int]) -> tuple[_Indices, _Floats]:
    """The four cells ``(count, 4)`` around the middle of each region, and its share in each."""
    axes = []
    for axis, cells in enumerate(grid):
        pixels = labels.shape[axis]
        places = np.arange(pixels, dtype=float)[:, None] if axis == 0 else np.arange(pixels, dtype=float)[None]
        middle = _mean(labels, np.broadcast_to(places, labels.shape), sizes)
        position = np.clip((middle + 0.5) * cells / pixels - 0.5, 0, cells - 1)
        low = position.astype(np.int64)
        axes.append((low, np.minimum(low + 1, cells - 1), position - low))
    (top, bottom, down), (left, right, across) = axes
    cells_of = np.stack([row * grid[1] + column for row in (top, bottom) for column in (left, right)], axis=1)
    shares = np.stack([a * b for a in (1 - down, down) for b in (1 - across, across)], axis=1)
    return cells_of, shares


def _mean(labels: _Indices, values: npt.NDArray[np.floating], sizes: _Floats) -> _Floats:
    """Mean of values ``(H, W)`` over each region."""
    return np.asarray(np.bincount(labels.ravel(), values.ravel(), len(sizes)) / sizes)
