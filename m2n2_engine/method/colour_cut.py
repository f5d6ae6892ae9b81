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

from m2n2_engine.method.shapes import measure_depths
from m2n2_engine.types import Image, Map, Mask

_INNER_SHARE = 0.6
"""The band reaches at most this share of the mask's depth inwards, so that of thin objects something is left. Here."""

_MIXTURE = 5
"""Gaussians of each mixture, fixed in OpenCV: it learns them from no fewer pixels."""

_SEED = 0

_LIKELY, _CERTAIN = (cv2.GC_PR_FGD, cv2.GC_PR_BGD), (cv2.GC_FGD, cv2.GC_BGD)


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A disc whose sign colours cannot change. pixel: its centre (x, y). radius: in pixels, 0 for the centre alone."""

    pixel: tuple[int, int]
    radius: int
    positive: bool


def refine_border(
    mask: Mask, image: Image, marks: Sequence[Mark], band_pixels: float, outside: Mask | None = None
) -> Mask:
    """The mask ``(H, W)`` with its border where the colours of an RGB uint8 image ``(H, W, 3)`` change.

    Args:
        mask: of the object.
        marks: a later one counts where two overlap.
        band_pixels: only pixels within this distance of the border may change; where one side has too few pixels to
            learn from, none.
        outside: ``(H, W)``, pixels that are certainly no object.
    """
    labels = _label(mask, band_pixels)
    if outside is not None:
        labels[outside] = cv2.GC_BGD
    for mark in marks:
        cv2.circle(labels, mark.pixel, mark.radius, cv2.GC_FGD if mark.positive else cv2.GC_BGD, cv2.FILLED)
    return _cut(labels, image, mask)


def cut_by_level(level: Map, image: Image, sure: tuple[float, float]) -> Mask:
    """The mask ``(H, W)`` of what is above 0, its border where the colours of an RGB uint8 image ``(H, W, 3)`` change.

    Args:
        level: ``(H, W)``.
        sure: levels below which a pixel is certainly none of the object's, and above which it certainly is.
    """
    labels = np.where(level > 0, *(np.uint8(label) for label in _LIKELY)).astype(np.uint8)
    labels[level < sure[0]] = cv2.GC_BGD
    labels[level > sure[1]] = cv2.GC_FGD
    return _cut(labels, image, level > 0)


def _cut(labels: Image, image: Image, mask: Mask) -> Mask:
    """OpenCV's labels after one cut; the mask that they stand for where one side has too few pixels to learn from."""
    is_object = _is_object(labels)
    if min(is_object.sum(), (~is_object).sum()) < _MIXTURE:
        return mask
    cv2.setRNGSeed(_SEED)  # the mixtures start from random pixels
    cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    return _is_object(labels)


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
