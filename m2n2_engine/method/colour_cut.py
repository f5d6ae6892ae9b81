"""Colours settle the border of a mask: a cut between the colours on its two sides, in a band around the border.

The cells of the attention are several pixels wide, so a mask's border is right to about a cell. Within that band the
colours of object and background, each a Gaussian mixture learned from this mask, and the edges of the image tell better
where it runs (Rother, Kolmogorov and Blake, GrabCut, 2004).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from m2n2_engine.types import Image, Mask

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


def refine_border(mask: Mask, image: Image, marks: Sequence[Mark], band_pixels: float, rounds: int) -> Mask:
    """The mask ``(H, W)`` with its border where the colours of an RGB uint8 image ``(H, W, 3)`` change.

    Only pixels within ``band_pixels`` of the border may change; where one side has too few pixels to learn from, none.
    marks: a later one counts where two overlap. rounds: of learning and cutting.
    """
    labels = _label(mask, band_pixels)
    for mark in marks:
        cv2.circle(labels, mark.pixel, mark.radius, cv2.GC_FGD if mark.positive else cv2.GC_BGD, cv2.FILLED)
    is_object = _is_object(labels)
    if min(is_object.sum(), (~is_object).sum()) < _MIXTURE:
        return mask
    cv2.setRNGSeed(_SEED)  # the mixtures start from random pixels
    cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return _is_object(labels)


def _label(mask: Mask, band_pixels: float) -> Image:
    """OpenCV's four labels ``(H, W)``: pixels near the border are likely on their side, all others certainly."""
    inside, outside = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3) for side in (mask, ~mask))
    is_near = (inside <= min(band_pixels, _INNER_SHARE * float(inside.max()))) & (outside <= band_pixels)
    likely, certain = (np.where(mask, *labels) for labels in (_LIKELY, _CERTAIN))
    return np.where(is_near, likely, certain).astype(np.uint8)


def _is_object(labels: Image) -> Mask:
    is_object: Mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return is_object
