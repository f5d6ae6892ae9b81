"""Large images: steps 4 to 7 run at a working size, and the mask is brought back to full size along image edges."""

from __future__ import annotations

import math

import cv2
import numpy as np

from m2n2_engine.ops.compiled import compiled_fast, run_in_bands
from m2n2_engine.types import Image, Mask

_REACH = 2
"""Working pixels on each side of a full-size pixel that vote on it: an edge is off by less than that."""

_SPATIAL_SIGMA = 1.0
"""Standard deviation of the vote's spatial Gaussian, in working pixels."""


def reduced_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """``(H, W)`` scaled so that the longer of them is at most ``longest_side`` pixels; 0 means no cap."""
    scale = longest_side / max(size)
    if not longest_side or scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def reduce_image(image: Image, longest_side: int) -> Image:
    """The image at its reduced size, by area averaging; the same array where that is its own size."""
    height, width = reduced_size((image.shape[0], image.shape[1]), longest_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def restore_mask(mask: Mask, reduced: Image, image: Image, range_sigma: float) -> Mask:
    """Bring a mask from the working size to the size of the image, its border following the image's edges.

    mask: bool (h, w). reduced: RGB uint8 (h, w, 3). image: RGB uint8 (H, W, 3). range_sigma: of RGB in 0..1.

    Pixels whose neighbourhood in the mask is all of one kind take it. Near the mask's border the working pixels around
    vote, weighted by distance and by likeness of colour (joint bilateral upsampling of the mask).
    """
    if mask.shape == image.shape[:2]:
        return mask
    kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    votes = mask.astype(np.uint8)
    undecided = cv2.dilate(votes, kernel) != cv2.erode(votes, kernel)
    result = np.empty(image.shape[:2], bool)
    colour_factor = 1.0 / (2 * (255 * range_sigma) ** 2)

    def run(start: int, stop: int) -> None:
        _restore_kernel(mask, undecided, reduced, image, colour_factor, result, start, stop)

    run_in_bands(run, len(result))
    return result


@compiled_fast
def _restore_kernel(mask, undecided, reduced, image, colour_factor, result, start, stop):  # type: ignore[no-untyped-def]
    height, width = mask.shape
    scale_y, scale_x = height / result.shape[0], width / result.shape[1]
    for row in range(start, stop):
        y = (row + 0.5) * scale_y - 0.5  # half-pixel centres
        near_y = min(max(int(np.floor(y + 0.5)), 0), height - 1)
        for column in range(result.shape[1]):
            x = (column + 0.5) * scale_x - 0.5
            near_x = min(max(int(np.floor(x + 0.5)), 0), width - 1)
            if not undecided[near_y, near_x]:
                result[row, column] = mask[near_y, near_x]
                continue
            balance = 0.0
            for j in range(max(near_y - _REACH, 0), min(near_y + _REACH + 1, height)):
                for i in range(max(near_x - _REACH, 0), min(near_x + _REACH + 1, width)):
                    exponent = ((j - y) ** 2 + (i - x) ** 2) / (2 * _SPATIAL_SIGMA**2)
                    for channel in range(3):
                        difference = float(reduced[j, i, channel]) - float(image[row, column, channel])
                        exponent += difference * difference * colour_factor
                    weight = math.exp(-exponent)
                    balance += weight if mask[j, i] else -weight
            result[row, column] = balance > 0
