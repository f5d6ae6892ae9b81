"""Large images: the mask of the working size is brought to full size along the edges of the image."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.kernels.cpu.threads import compiled_fast, run_in_bands
from m2n2_engine.types import Image, Mask

_REACH = 2
"""Working pixels on each side of a full-size pixel that vote on it: an edge is off by less than that."""

_SPATIAL_SIGMA = 1.0
"""Standard deviation of the vote's spatial Gaussian, in working pixels."""

_SPATIAL_FACTOR = np.float32(1.0 / (2 * _SPATIAL_SIGMA**2))


def restore_mask(mask: Mask, reduced: Image, image: Image, range_sigma: float) -> Mask:
    """Bring a mask from the working size to the size of the image, its border following the image's edges.

    Pixels whose neighbourhood in the mask is all of one kind take it. Near the mask's border the working pixels around
    vote, weighted by distance and by likeness of colour (joint bilateral upsampling of the mask).

    Args:
        mask: bool ``(h, w)``.
        reduced: RGB uint8 ``(h, w, 3)``.
        image: RGB uint8 ``(H, W, 3)``.
        range_sigma: of RGB in 0..1.

    Returns:
        bool ``(H, W)``; the mask itself where it has that size already.
    """
    if mask.shape == image.shape[:2]:
        return mask
    kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    votes = mask.astype(np.uint8)
    undecided = cv2.dilate(votes, kernel) != cv2.erode(votes, kernel)
    result = np.empty(image.shape[:2], bool)
    first_rows, first_columns = (_first_pixels(*sizes) for sizes in zip(mask.shape, image.shape[:2], strict=True))
    colour_factor = np.float32(1.0 / (2 * (255 * range_sigma) ** 2))

    def run(start: int, stop: int) -> None:
        _restore_kernel(mask, undecided, reduced, image, colour_factor, first_rows, first_columns, result, start, stop)

    run_in_bands(run, len(mask))
    return result


def _first_pixels(cells: int, pixels: int) -> npt.NDArray[np.int64]:
    """(cells + 1,): the first of the ``pixels`` whose centre is in each of the equally wide ``cells``, and the end."""
    return np.searchsorted((2 * np.arange(pixels) + 1) * cells, 2 * pixels * np.arange(cells + 1))


@compiled_fast
def _restore_kernel(  # type: ignore[no-untyped-def]
    mask, undecided, reduced, image, colour_factor, first_rows, first_columns, result, start, stop
):
    height, width = mask.shape
    scale_y, scale_x = height / result.shape[0], width / result.shape[1]
    for j in range(start, stop):
        for row in range(first_rows[j], first_rows[j + 1]):
            y = np.float32((row + 0.5) * scale_y - 0.5)  # half-pixel centres
            for i in range(width):
                if not undecided[j, i]:
                    result[row, first_columns[i] : first_columns[i + 1]] = mask[j, i]
                    continue
                for column in range(first_columns[i], first_columns[i + 1]):
                    x = np.float32((column + 0.5) * scale_x - 0.5)
                    result[row, column] = _vote_kernel(mask, reduced, image, row, column, colour_factor, j, i, y, x)


@compiled_fast
def _vote_kernel(mask, reduced, image, row, column, colour_factor, near_j, near_i, y, x):  # type: ignore[no-untyped-def]
    """Whether the working pixels around ``(near_j, near_i)`` make a pixel of the image object. y, x: its centre in
    working pixels."""
    red, green, blue = (
        np.float32(image[row, column, 0]),
        np.float32(image[row, column, 1]),
        np.float32(image[row, column, 2]),
    )
    balance = np.float32(0)
    for j in range(max(near_j - _REACH, 0), min(near_j + _REACH + 1, mask.shape[0])):
        for i in range(max(near_i - _REACH, 0), min(near_i + _REACH + 1, mask.shape[1])):
            colours = (
                (np.float32(reduced[j, i, 0]) - red) ** 2
                + (np.float32(reduced[j, i, 1]) - green) ** 2
                + (np.float32(reduced[j, i, 2]) - blue) ** 2
            )
            distance = (np.float32(j) - y) ** 2 + (np.float32(i) - x) ** 2
            exponent = distance * _SPATIAL_FACTOR + colours * colour_factor
            # exp(-exponent) to a few percent, and 0 from 64 on: a real exponential would be most of the time.
            weight = max(np.float32(1) - exponent * np.float32(1 / 64), np.float32(0))
            for _ in range(6):
                weight *= weight
            balance += weight if mask[j, i] else -weight
    return balance > 0
