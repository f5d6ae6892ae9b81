"""The shared language of both floors: one noun each, numpy only.

Points are ``(x, y)`` pixels of the full-size image, x to the right, y down, as floats; the pixel ``(0, 0)`` covers
``0 <= x < 1``. Images are uint8 RGB ``(H, W, 3)``. Masks are bool ``(H, W)``.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Click:
    """A point of the image with a sign.

    x: pixels from the left edge, ``0 <= x <= W``. y: pixels from the top edge, ``0 <= y <= H``.
    positive: True where the point belongs to the object.
    """

    x: float
    y: float
    positive: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle around an object, in pixels of the image: ``0 <= left < right <= W`` from the left edge,
    ``0 <= top < bottom <= H`` from the top edge."""

    left: float
    top: float
    right: float
    bottom: float


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one answer went, in seconds.

    prepare_seconds: network, attention, transition matrix and upsampling weights; 0 where the image was resident.
    clicks_seconds: Markov-maps of clicks not seen before, thresholds and merge.
    """

    prepare_seconds: float
    clicks_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """What the engine answers.

    mask: bool (H, W) at the size of the image that was given.
    score: 0 to 1, how sharply the mask ends: the mean over the positive clicks of the edge strength of their
        Markov-map along the border of their segment, as a share of the strongest edge in that map
        (``method.thresholds``); 0 where the mask is empty. It ranks masks of one image; it is no probability.
    timings: where the time went.
    """

    mask: Mask
    score: float
    timings: Timings


class Level(enum.StrEnum):
    """Where an image was found, from the fastest place to the slowest; NETWORK is nowhere: it was prepared anew."""

    DEVICE = "device"
    HOST = "host"
    DISK = "disk"
    NETWORK = "network"


class Segmenter(Protocol):
    """What a desk of the backend needs of the engine."""

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> Segmentation:
        """The mask of the object that the clicks and the box describe.

        box: the object lies in it; without positive clicks it is looked for there. Stateless to its caller and safe
        under threads. Only negative clicks and no box give an empty mask of score 0. Raises InvalidImage,
        InvalidClicks or OutOfMemory.
        """

    def prepare(self, image: Image) -> Level:
        """Make the image resident, so that the first click finds it ready; says where it was found.

        Raises InvalidImage or OutOfMemory.
        """

    def find_level(self, image: Image) -> Level:
        """Where a click would find the image now. Waits for nothing; raises InvalidImage."""

    def count_networks(self) -> int:
        """How many images it prepares at the same time, as far as it knows, at least one. Waits for nothing."""

    def describe(self) -> Mapping[str, str | int | float | bool | None]:
        """Facts for /health, /metrics and logs; never blocks for long.

        Always: model_version. Where known: backbone, backbone_reason, preset, device, grid; session_images,
        session_bytes, session_budget_bytes, and since the start session_hits, session_misses, session_evictions; the
        same of the levels below, host_* and disk_*, with disk_write_failures; device_usable, and of a device with its
        own memory device_memory_used_bytes, device_memory_bytes.
        """


class ClickSegmenter(Protocol):
    """The part of a segmenter that a simulated annotator needs; a running server has it too."""

    def segment(self, image: Image, clicks: Sequence[Click]) -> Segmentation:
        """As ``Segmenter.segment``."""

    def describe(self) -> Mapping[str, str | int | float | bool | None]:
        """As ``Segmenter.describe``."""
