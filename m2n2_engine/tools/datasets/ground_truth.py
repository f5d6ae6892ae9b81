"""What the published masks say of an image: objects, and bands that nobody labelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import Mask

_UNKNOWN = 128
"""GrabCut's grey level of the band around the object whose pixels nobody labelled."""

_VOID = 255
"""PASCAL VOC's label of the pixels that nobody labelled."""

_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000")

_WHITE = 255
_MOST_GREYS = 8
_SMOOTHED_SHARE = 0.1
"""More greys than these between black and white, on less than this share of the pixels, are a smoothed border. Here:
nine objects beside a white one that together cover less than a tenth are rare."""

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


def read_own_objects(path: Path) -> list[GroundTruth]:
    """Every value or colour but 0 and black is an object of its own. In a PNG with a palette 255 is the unknown band,
    as in PASCAL VOC, where there are other objects.

    Raises InvalidImage also for masks whose values are not what was drawn: JPEG's, and smoothed borders.
    """
    try:
        with PillowImage.open(path) as image:
            if image.format in _LOSSY_FORMATS:
                raise InvalidImage(f"{path} is a JPEG, which changes the values of a mask: save it as PNG")
            has_palette = image.mode == "P"
            labels = _pack_colours(np.asarray(image))
    except InvalidImage:
        raise
    except Exception:  # Pillow's decoders share no base
        raise InvalidImage(f"{path} cannot be decoded as a mask: put a sound copy in its place") from None
    values, counts = np.unique(labels.astype(np.int64), return_counts=True)
    void = labels == _VOID if has_palette and np.count_nonzero(values) > 1 else np.zeros(labels.shape, bool)
    _check_values(path, values, counts)
    unknown = void if void.any() else None
    return [GroundTruth(labels == value, unknown) for value in values if value != 0 and not void[labels == value].all()]


def split_labels(labels: Labels) -> list[GroundTruth]:
    """Every label but 0 as an object, in the order of the labels."""
    return [GroundTruth(labels == label) for label in np.unique(labels) if label != 0]


def _pack_colours(pixels: npt.NDArray[Any]) -> Labels:
    """One number for each colour; the values themselves where there are no colours. Opacity says nothing."""
    if pixels.ndim == 2:
        if not np.issubdtype(pixels.dtype, np.integer) and pixels.dtype != np.bool_:
            raise ValueError("no labels")
        return pixels.astype(np.int64)
    colours = pixels[:, :, : 1 if pixels.shape[2] == 2 else 3].astype(np.int64)
    if (colours == colours[:, :, :1]).all():
        return np.asarray(colours[:, :, 0])
    return np.asarray(colours @ np.array([1 << 16, 1 << 8, 1]))


def _check_values(path: Path, values: npt.NDArray[np.integer[Any]], counts: npt.NDArray[np.integer[Any]]) -> None:
    between = ~np.isin(values, (0, _WHITE))
    if values[-1] == _WHITE and between.sum() > _MOST_GREYS and counts[between].sum() < _SMOOTHED_SHARE * counts.sum():
        raise InvalidImage(
            f"{path} has {between.sum()} greys between black and white, as smoothed borders have: save it without "
            "smoothing, or set each pixel to 0 or 255"
        )


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
