"""Which pixels are object, and which of all count."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.datasets.coco import Instance
from m2n2_engine.tools.evaluate.options import Band, Flip
from m2n2_engine.types import Mask

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one object under one rule for the unknown band. pixels: bool (H, W), the object. known: bool
    (H, W), the pixels that count; the object is among them and has at least one."""

    pixels: Mask
    known: Mask


def read_truth(instance: Instance, band: Band) -> Truth:
    """The truth of an instance. Raises InvalidImage where the band leaves nothing of the object."""
    sure, unknown = instance.sure(), instance.unknown()
    truth = Truth(sure | unknown, np.ones_like(sure)) if band is Band.OBJECT else Truth(sure & ~unknown, ~unknown)
    if not truth.pixels.any():
        raise InvalidImage(
            f"{instance.name} has no object pixel with --band {band}: use another band, or leave it out of the dataset"
        )
    return truth


def flip_truth(truth: Truth, flip: Flip) -> Truth:
    """The truth of the flipped image."""
    return Truth(flip_pixels(truth.pixels, flip), flip_pixels(truth.known, flip))


def flip_pixels(pixels: npt.NDArray[ScalarT], flip: Flip) -> npt.NDArray[ScalarT]:
    """An image (H, W, 3) or a mask (H, W), flipped; a copy."""
    axes = {Flip.NONE: (), Flip.HORIZONTAL: (1,), Flip.VERTICAL: (0,), Flip.BOTH: (0, 1)}[flip]
    return np.ascontiguousarray(np.flip(pixels, axes))
