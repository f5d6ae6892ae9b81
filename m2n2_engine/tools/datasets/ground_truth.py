"""What the published masks say of an image: objects, and bands that nobody labelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import Mask

_UNKNOWN = 128
"""GrabCut's grey level of the band around the object whose pixels nobody labelled."""

Labels = npt.NDArray[np.integer[Any]]
"""(H, W), 0 is background."""


@dataclasses.dataclass(frozen=True, slots=True)
class GroundTruth:
    """One object. sure: bool (H, W), object for certain. unknown: bool (H, W), the band nobody labelled; None where
    there is none."""

    sure: Mask
    unknown: Mask | None = None


ReadObjects = Callable[[Path], list[GroundTruth]]
"""File of the ground truth -> the objects of its image, all of one size; none where the file shows none. Raises
InvalidImage."""


def read_object(path: Path) -> list[GroundTruth]:
    """Every pixel that is not 0, of whatever value and channel, is the one object."""
    return _unless_empty(GroundTruth(_read_labels(path) != 0))


def read_object_and_band(path: Path) -> list[GroundTruth]:
    """The same, but 128 is the unknown band."""
    labels = _read_labels(path)
    unknown = labels == _UNKNOWN
    return _unless_empty(GroundTruth((labels != 0) & ~unknown, unknown if unknown.any() else None))


def read_labelled_objects(path: Path) -> list[GroundTruth]:
    """Every value but 0 is an object of its own."""
    return split_labels(_read_labels(path))


def split_labels(labels: Labels) -> list[GroundTruth]:
    """Every label but 0 as an object, in the order of the labels."""
    return [GroundTruth(labels == label) for label in np.unique(labels) if label != 0]


def _unless_empty(truth: GroundTruth) -> list[GroundTruth]:
    return [truth] if truth.sure.any() or truth.unknown is not None else []


def _read_labels(path: Path) -> Labels:
    """The values as they are stored, unlike those of a decoded picture; of colours the largest channel."""
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # an empty file
        pixels = None
    if pixels is None:
        raise InvalidImage(f"{path} cannot be decoded as a mask: put a sound copy in its place")
    # A fourth channel is opacity, which says nothing of the object.
    return np.asarray(pixels if pixels.ndim == 2 else pixels[:, :, :3].max(axis=2))
