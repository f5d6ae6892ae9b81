"""Parts of masks: what is connected, how deep it is, what is too small to be meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from m2n2_engine.types import Box, Map, Mask

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
"""A pixel and its four neighbours."""


def find_parts(mask: Mask, pixels: Sequence[tuple[int, int]]) -> Mask:
    """The 4-connected parts of a mask ``(H, W)`` that hold one of ``pixels`` ``(x, y)``."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    x, y = np.transpose(pixels)
    is_held = np.zeros(count, bool)
    is_held[labels[y, x]] = True
    is_held[0] = False
    parts: Mask = is_held[labels]
    return parts


def measure_depths(mask: Mask) -> Map:
    """Distance of each pixel of a mask ``(H, W)`` to what is outside of it, in pixels; the image's border is outside. 0
    outside of the mask."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depths: Map = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depths


def draw_discs(shape: tuple[int, int], pixels: Sequence[tuple[int, int]], radii: Sequence[float]) -> Mask:
    """Discs in a mask of ``shape`` (H, W) around ``pixels`` (x, y), which are in it whatever the radii."""
    discs = np.zeros(shape, bool)
    for (column, row), radius in zip(pixels, radii, strict=True):
        reach = int(radius)
        top, left = max(row - reach, 0), max(column - reach, 0)
        y, x = np.ogrid[top : min(row + reach + 1, shape[0]), left : min(column + reach + 1, shape[1])]
        discs[y, x] |= (x - column) ** 2 + (y - row) ** 2 <= radius**2
    return discs


def grow(mask: Mask, radius: float) -> Mask:
    """All pixels within ``radius`` of a mask ``(H, W)``."""
    if not mask.any():
        return mask
    grown: Mask = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) <= radius
    return grown


def reduce_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at a smaller or the same ``(H, W)``: pixels of which half or more is in it."""
    if mask.shape == size:
        return mask.copy()
    shares = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    reduced: Mask = shares >= np.float32(0.5)
    return reduced


def find_extent(mask: Mask, image_size: tuple[int, int]) -> Box | None:
    """The box around all pixels of a mask ``(H, W)``, in pixels of an image of ``image_size`` (H, W) that it is of;
    None where there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    down, across = (full / own for full, own in zip(image_size, mask.shape, strict=True))
    return Box(columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)


def enlarge_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at a larger ``(H, W)``, each pixel as the one that its centre lies in."""
    rows, columns = ((np.arange(new) * 2 + 1) * old // (2 * new) for new, old in zip(size, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def drop_small_parts(
    mask: Mask, least_pixels: float, kept: Iterable[tuple[int, int]], anchors: Mask | None = None
) -> Mask:
    """The mask ``(H, W)`` without its 4-connected parts of fewer pixels, but for those that hold one of ``kept``
    ``(x, y)`` or a pixel of ``anchors`` ``(H, W)``. What it keeps of a mask, it keeps of every larger mask too."""
    count, labels, sizes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    stays = sizes[:, cv2.CC_STAT_AREA] >= least_pixels
    stays[[labels[y, x] for x, y in kept]] = True
    if anchors is not None:
        stays[labels[anchors]] = True
    stays[0] = False
    if stays[1:count].all():
        return mask
    cleaned: Mask = stays[labels]
    return cleaned
