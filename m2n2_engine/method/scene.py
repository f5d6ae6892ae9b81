"""One image, as the decision of a prompt sees it: colours, edges and regions, and which of two sides a place is on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.method.colour_cut import measure_difference
from m2n2_engine.method.edge_map import measure_sobel
from m2n2_engine.method.regions import Regions, cut_regions
from m2n2_engine.types import Image, Map, Mask

_SMOOTHING = 0.8
"""Standard deviation of the Gaussian before edges are measured, in pixels. Here."""

_SOBEL_GAIN = 8
"""Sobel's response to a slope of 1 a pixel."""

_BINS = 16
"""Of each channel of 8-bit CIE Lab in a histogram of colours. Here."""

_BIN_SMOOTHING = 0.7
"""Standard deviation of the Gaussian over a histogram, in bins. Here."""

_BIN_FLOOR = 1e-5
"""Share of all pixels added to every bin, so that an unseen colour proves nothing. Here."""

_CELL_FLOOR = 0.05
"""Added to how near a cell is to each side, 1 in the mean over the image. Here."""

_STRONGEST = 3.0
"""Log odds are cut off here: one place alone proves little. Here."""

_LEAST_PIXELS = 20
"""A side of fewer pixels says nothing. Here."""


@dataclasses.dataclass(frozen=True)
class Appearance:
    """What is measured in an image once.

    image: RGB uint8 (H, W, 3). lab: the same in 8-bit CIE Lab, float32. edges: (H, W) float32, change of Lab a pixel.
    mean_edge: of them, above 0. cells: (H, W), the cell of the grid that each pixel lies in, row-major. bins: (H, W),
    each pixel's bin in a histogram of colours. difference: mean squared difference of neighbours in RGB.
    """

    image: Image
    lab: Map
    edges: Map
    mean_edge: float
    cells: npt.NDArray[np.int64]
    bins: npt.NDArray[np.int64]
    difference: float

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(array.nbytes for array in (self.image, self.lab, self.edges, self.cells, self.bins))


@dataclasses.dataclass(frozen=True)
class Scene:
    """What masks of one image are made from, at working size.

    appearance: colours and edges. regions: that a correction's walk steps over. transition: ``(n, n)``, any multiple of
    probabilities, on any device. method: the constants. grid: ``(h, w)`` cells. outside: (H, W), pixels that are no
    object, whatever is clicked; None where all may be.
    """

    appearance: Appearance
    regions: Regions
    transition: torch.Tensor
    method: MethodConfig
    grid: tuple[int, int]
    outside: Mask | None = None

    @property
    def nbytes(self) -> int:
        """Memory held for the image beside the transition matrix, in bytes."""
        return self.appearance.nbytes + self.regions.nbytes

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` of the working size, in pixels."""
        return self.appearance.edges.shape[0], self.appearance.edges.shape[1]

    @property
    def cell_pixels(self) -> float:
        """Longer side of a cell of the grid."""
        return max(pixels / cells for pixels, cells in zip(self.size, self.grid, strict=True))

    @property
    def click_radius(self) -> float:
        """Of the disc that has a click's sign in any case, in pixels."""
        return self.method.click_radius_cells * self.cell_pixels

    @property
    def band_pixels(self) -> float:
        """How far colours may move a border."""
        return self.method.colour_band_cells * self.cell_pixels

    @property
    def edge_difference(self) -> float:
        """Squared difference of neighbours in RGB by which a border between them becomes cheaper by a factor of
        sqrt(e)."""
        return self.method.colour_edge_scale * self.appearance.difference

    @property
    def reach_pixels(self) -> float:
        """How far from a change they may."""
        return self.method.colour_reach_cells * self.cell_pixels

    def with_outside(self, outside: Mask) -> Scene:
        """The same image, with pixels that are no object."""
        return dataclasses.replace(self, outside=outside)


def look_at(image: Image, transition: torch.Tensor, grid: tuple[int, int], method: MethodConfig) -> Scene:
    """The scene of an RGB uint8 image ``(H, W, 3)`` at working size. transition: ``(n, n)`` of ``grid`` (h, w)."""
    own = image.copy()  # the caller's array may change later
    appearance = measure_appearance(own, grid)
    regions = cut_regions(own, appearance.lab, appearance.edges, transition, grid, method)
    return Scene(appearance, regions, transition, method, grid)


def measure_appearance(image: Image, grid: tuple[int, int]) -> Appearance:
    """The appearance of an RGB uint8 image ``(H, W, 3)`` under a grid of ``(h, w)`` cells."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    smooth = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), _SMOOTHING), cv2.COLOR_RGB2LAB).astype(np.float32)
    edges = measure_sobel(smooth) / np.float32(_SOBEL_GAIN)
    row, column = (
        np.minimum((np.arange(pixels) + 0.5) * cells / pixels, cells - 1).astype(np.int64)
        for pixels, cells in zip(image.shape[:2], grid, strict=True)
    )
    channels = lab.astype(np.int64) * _BINS // 256
    bins = (channels[:, :, 0] * _BINS + channels[:, :, 1]) * _BINS + channels[:, :, 2]
    mean_edge = max(float(edges.mean()), 1e-3)
    cells = np.add.outer(row * grid[1], column)
    return Appearance(image, lab.astype(np.float32), edges, mean_edge, cells, bins, measure_difference(image))


def weigh_colours(appearance: Appearance, one: Mask, other: Mask) -> Map:
    """Log odds ``(H, W)``, at most ``_STRONGEST``, that a pixel's colour is one of the pixels ``one`` rather than of
    ``other``; 0 where either has too few."""
    if min(one.sum(), other.sum()) < _LEAST_PIXELS:
        return np.zeros(one.shape, np.float32)
    # Imported here: it takes a quarter of a second, which a command with one click need not wait for.
    from scipy.ndimage import gaussian_filter

    counted = (np.bincount(appearance.bins[side], minlength=_BINS**3).astype(float) for side in (one, other))
    smooth = [gaussian_filter(counts.reshape((_BINS,) * 3), _BIN_SMOOTHING).ravel() for counts in counted]
    likely, unlikely = (counts / counts.sum() + _BIN_FLOOR for counts in smooth)
    odds = np.clip(np.log(likely / unlikely), -_STRONGEST, _STRONGEST)
    return np.asarray(odds[appearance.bins], np.float32)


def weigh_cells(appearance: Appearance, transition: torch.Tensor, one: Mask, other: Mask) -> Map:
    """The same of how near a pixel's cell is to either side: the chance of one step of the chain to it.

    transition: ``(n, n)``, any multiple of probabilities, on any device.
    """
    if min(one.sum(), other.sum()) < _LEAST_PIXELS:
        return np.zeros(one.shape, np.float32)
    count = len(transition)
    sides = [np.bincount(appearance.cells[side], minlength=count) for side in (one, other)]
    columns = np.stack([*(side / side.sum() for side in sides), np.full(count, 1 / count)], axis=1)
    reached = _multiply(transition, columns.astype(np.float32))
    near, far = (reached[:, side] / np.maximum(reached[:, 2], 1e-30) + _CELL_FLOOR for side in (0, 1))
    odds = np.clip(np.log(near / far), -_STRONGEST, _STRONGEST)
    return np.asarray(odds[appearance.cells], np.float32)


def _multiply(transition: torch.Tensor, columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``transition @ columns``, in float32 whatever the matrix is kept in, and never with a whole copy of it."""
    factor = torch.from_numpy(columns).to(transition.device)
    parts: Sequence[torch.Tensor] = transition.split(1024)  # type: ignore[no-untyped-call]
    rows = [part.float() @ factor for part in parts]
    return np.asarray(torch.cat(rows).cpu())
