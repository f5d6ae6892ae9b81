"""The border of a mask follows colours.

The cells of the attention are several pixels wide, so the border is right to about a cell. Within that band the colours
of object and background, each a Gaussian mixture learned from this mask, and the edges of the image tell better where
it runs (Rother, Kolmogorov and Blake, GrabCut, 2004).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.method.shapes import measure_depths
from m2n2_engine.types import Image, Map, Mask

_INNER_SHARE = 0.6
"""The band reaches at most this share of the mask's depth inwards, so that of thin objects something is left. Here."""

_MIXTURE = 5
"""Gaussians of each mixture, fixed in OpenCV: it learns them from no fewer pixels."""

_SAMPLE = 4096
"""Pixels of each side that its mixture is learned from at most. Here: all pixels give no better masks."""

_SEED = 0

_LARGEST_STRIP = 200_000
"""Pixels that a part is made larger by at most before it is cut. Here: OpenCV needs some 200 bytes for each."""

_Mixture = npt.NDArray[np.float64]
"""Of one side, ``(1, 65)``, as OpenCV keeps it."""

_LIKELY, _CERTAIN = (cv2.GC_PR_FGD, cv2.GC_PR_BGD), (cv2.GC_FGD, cv2.GC_BGD)


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A disc whose sign colours cannot change. pixel: its centre (x, y). radius: in pixels, 0 for the centre alone."""

    pixel: tuple[int, int]
    radius: int
    positive: bool


def refine_border(
    mask: Mask,
    image: Image,
    marks: Sequence[Mark],
    band_pixels: float,
    *,
    difference: float,
    near: Mask | None = None,
    outside: Mask | None = None,
) -> Mask:
    """The mask ``(H, W)`` with its border where the colours of an RGB uint8 image ``(H, W, 3)`` change.

    Args:
        mask: of the object.
        marks: a later one counts where two overlap.
        band_pixels: only pixels within this distance of the border may change; where one side has too few pixels to
            learn from, none.
        difference: squared, of neighbouring pixels in RGB, by which a border between them becomes cheaper by a factor
            of sqrt(e); 0 for an image of one colour.
        near: ``(H, W)``, the only pixels that may change; None for all.
        outside: ``(H, W)``, pixels that are certainly no object.
    """
    labels = _label(mask, band_pixels)
    if outside is not None:
        labels[outside] = cv2.GC_BGD
    for mark in marks:
        cv2.circle(labels, mark.pixel, mark.radius, cv2.GC_FGD if mark.positive else cv2.GC_BGD, cv2.FILLED)
    if near is not None:  # last: marks elsewhere change nothing either
        labels = np.where(near, labels, np.where(mask, cv2.GC_FGD, cv2.GC_BGD)).astype(np.uint8)
    return _cut(labels, image, mask, difference)


def cut_by_level(level: Map, image: Image, sure: tuple[float, float], *, difference: float) -> Mask:
    """The mask ``(H, W)`` of what is above 0, its border where the colours of an RGB uint8 image ``(H, W, 3)`` change.

    Args:
        level: ``(H, W)``.
        sure: levels below which a pixel is certainly none of the object's, and above which it certainly is.
        difference: as of ``refine_border``.
    """
    labels = np.where(level > 0, *(np.uint8(label) for label in _LIKELY)).astype(np.uint8)
    labels[level < sure[0]] = cv2.GC_BGD
    labels[level > sure[1]] = cv2.GC_FGD
    return _cut(labels, image, level > 0, difference)


def measure_difference(image: Image) -> float:
    """Mean squared difference of the colours of neighbouring pixels, those at corners too, of a uint8 image
    ``(H, W, 3)``. GrabCut calls ``1 / (2 * this)`` beta; 0 for a single pixel."""
    total, pairs = _add_up_differences(image)
    return total / pairs if pairs else 0.0


def _cut(labels: Image, image: Image, mask: Mask, difference: float) -> Mask:
    """OpenCV's labels after one cut; the mask that they stand for where one side has too few pixels to learn from."""
    is_object = _is_object(labels)
    if min(is_object.sum(), (~is_object).sum()) < _MIXTURE:
        return mask
    is_open = labels >= min(_LIKELY)
    if not is_open.any():
        return is_object
    part = _frame(is_open)
    framed, seen = _temper(labels[part], image[part], difference)
    cv2.grabCut(seen, framed, None, *_learn_colours(image, is_object), 1, cv2.GC_EVAL_FREEZE_MODEL)
    rows, columns = is_object[part].shape
    is_object[part] = _is_object(framed[:rows, :columns])
    return is_object


def _frame(is_open: Mask) -> tuple[slice, slice]:
    """Rows and columns of what may change and its neighbours."""
    spans = (np.flatnonzero(is_open.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(max(int(span[0]) - 1, 0), int(span[-1]) + 2) for span in spans)
    return rows, columns


def _learn_colours(image: Image, is_object: Mask) -> tuple[_Mixture, _Mixture]:
    """OpenCV's mixtures of the background and of the object."""
    sides = (image[side] for side in (~is_object, is_object))
    samples = [pixels[:: -(-len(pixels) // _SAMPLE)] for pixels in sides]
    labels = np.repeat(np.array([cv2.GC_BGD, cv2.GC_FGD], np.uint8), [len(sample) for sample in samples])
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(_SEED)  # the mixtures start from random pixels
    column = np.concatenate(samples)[:, None]
    cv2.grabCut(column, labels[:, None], None, background, foreground, 1, cv2.GC_INIT_WITH_MASK)
    return background, foreground


def _temper(labels: Image, image: Image, difference: float) -> tuple[Image, Image]:
    """Labels and image with a plain strip below, of background, so large that the mean squared difference of neighbours
    is as wanted: OpenCV weighs each difference against the mean of what it is given, and takes no other."""
    total, _ = _add_up_differences(image)
    width = labels.shape[1]
    wanted = (total / difference + 3 * width - 2) / (4 * width - 3) if difference else 0
    rows = min(int(wanted) - len(labels), _LARGEST_STRIP // width)
    if rows <= 0:
        return np.ascontiguousarray(labels), np.ascontiguousarray(image)
    plain = np.full((rows, width, 3), image[-1, -1], np.uint8)
    return np.vstack([labels, np.full((rows, width), cv2.GC_BGD, np.uint8)]), np.vstack([image, plain])


def _add_up_differences(image: Image) -> tuple[float, int]:
    """The sum of the squared differences of neighbouring pixels, and how many pairs of neighbours there are."""
    sides = (
        (image[:, 1:], image[:, :-1]),
        (image[1:], image[:-1]),
        (image[1:, 1:], image[:-1, :-1]),
        (image[1:, :-1], image[:-1, 1:]),
    )
    pairs = [(one, other) for one, other in sides if one.size]
    return sum(cv2.norm(*each, cv2.NORM_L2SQR) for each in pairs), sum(one.shape[0] * one.shape[1] for one, _ in pairs)


def shrink_marks(marks: Sequence[Mark], mask: Mask, share: float) -> list[Mark]:
    """The marks, none larger than ``share`` of how deep its centre lies in its own sign: a correction that has come
    nearer to a click takes away what its mark claimed too much."""
    depths = {True: measure_depths(mask), False: measure_depths(~mask)}
    return [
        dataclasses.replace(mark, radius=min(mark.radius, int(share * depths[mark.positive][mark.pixel[::-1]])))
        for mark in marks
    ]


def _label(mask: Mask, band_pixels: float) -> Image:
    """OpenCV's four labels ``(H, W)``: pixels near the border are likely on their side, all others certainly."""
    inside, outside = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3) for side in (mask, ~mask))
    is_near = (inside <= min(band_pixels, _INNER_SHARE * float(inside.max()))) & (outside <= band_pixels)
    likely, certain = (np.where(mask, *labels) for labels in (_LIKELY, _CERTAIN))
    return np.where(is_near, likely, certain).astype(np.uint8)


def _is_object(labels: Image) -> Mask:
    is_object: Mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return is_object
