"""What an image shows: its colours and edges, and how likely a place belongs to one of two sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from m2n2_engine.method.edge_map import measure_sobel
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
    each pixel's bin in a histogram of colours.
    """

    image: Image
    lab: Map
    edges: Map
    mean_edge: float
    cells: npt.NDArray[np.int64]
    bins: npt.NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(array.nbytes for array in (self.image, self.lab, self.edges, self.cells, self.bins))


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
    return Appearance(image, lab.astype(np.float32), edges, mean_edge, np.add.outer(row * grid[1], column), bins)


def weigh_colours(appearance: Appearance, one: Mask, other: Mask) -> Map:
    """Log odds ``(H, W)``, at most ``_STRONGEST``, that a pixel's colour is one of the pixels ``one`` rather than of
    ``other``; 0 where either has too few."""
    if min(one.sum(), other.sum()) < _LEAST_PIXELS:
        return np.zeros(one.shape, np.float32)
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
