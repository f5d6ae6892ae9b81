"""What annotators accepted -> masks to learn from, packed so that many can be kept."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from backend.errors import InvalidRequest
from backend.images.cache import TaskImage
from backend.label_studio import brush_rle
from backend.label_studio.answer import BITMASK_TYPE, POLYGON_TYPE
from backend.label_studio.drafted import BRUSH_TYPE
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payload import StudioPayload, Task
from backend.label_studio.shapes import bitmask
from backend.label_studio.shapes.polygons import fill_polygon
from m2n2_engine.types import Mask

_MOST_ANNOTATED_REGIONS = 200
"""Regions of one annotation that are read. Here: nobody draws more masks in one image."""

_LONGEST_RLE = 1_000_000
"""Run lengths of one brush region, in bytes. Here: a ragged mask of 12 megapixels; reading it takes a second."""

logger = logging.getLogger(__name__)


class AnnotatedRegion(StudioPayload):
    """A region of an annotation, of a kind that can be a mask. origin: how it came about, as Label Studio tells it."""

    id: str = ""
    type: str = ""
    to_name: str = ""
    item_index: NonNegativeInt | None = None
    original_width: PositiveInt
    original_height: PositiveInt
    image_rotation: float = 0
    origin: str = ""
    value: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` of its image, in pixels."""
        return self.original_height, self.original_width

    @property
    def label(self) -> str | None:
        """The first of its labels; None where it has none."""
        labels = self.value.get(self.type)
        first = labels[0] if isinstance(labels, list) and labels else None
        return first if isinstance(first, str) else None

    def decode(self) -> Mask:
        """Its mask. Raises InvalidRequest where it cannot be read."""
        match self.type, self.value:
            case "brushlabels", {"rle": [*rle]} if len(rle) <= _LONGEST_RLE:
                return brush_rle.decode(rle, self.size)
            case "bitmasklabels", {"imageDataURL": str(url)}:
                return bitmask.decode(url, self.size)
            case "polygonlabels", {"points": [*points]}:
                return fill_polygon(points, self.size)
        raise InvalidRequest(f"a region of type {self.type!r} without a mask, or with one that is too long")


class Annotation(StudioPayload):
    """What an annotator submitted for a task. was_cancelled: the task was skipped."""

    id: int
    updated_at: str = ""
    was_cancelled: bool = False
    result: list[Any]

    def list_regions(self) -> list[AnnotatedRegion]:
        """Those that can be masks; others, such as key points and choices, are left out."""
        regions = []
        for region in self.result[:_MOST_ANNOTATED_REGIONS]:
            with contextlib.suppress(ValidationError):
                regions.append(AnnotatedRegion.model_validate(region))
        kinds = (BRUSH_TYPE, BITMASK_TYPE, POLYGON_TYPE)
        return [region for region in regions if region.type in kinds and region.label is not None]


@dataclasses.dataclass(frozen=True, slots=True)
class AcceptedMask:
    """All that annotators accepted of one label in one image: the union of its regions.

    image: as its task names it. size: ``(H, W)``. packed: the mask, compressed. digest: hex digits that stand for
    all of it.
    """

    image: TaskImage
    label: str
    size: tuple[int, int]
    packed: bytes
    digest: str

    @classmethod
    def of(cls, image: TaskImage, label: str, mask: Mask) -> AcceptedMask:
        """The packed form of a mask (H, W)."""
        packed = zlib.compress(np.packbits(mask).tobytes(), 1)
        name = hashlib.blake2b(f"{image.task_id} {image.reference} {label}".encode(errors="surrogatepass"))
        name.update(packed)
        return cls(image, label, (mask.shape[0], mask.shape[1]), packed, name.hexdigest())

    def unpack(self) -> Mask:
        """The mask, bool (H, W)."""
        height, width = self.size
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(self.size).astype(np.bool_)


def read_masks(task: Task, annotation: Annotation, config: LabelConfig, most_pixels: int) -> list[AcceptedMask]:
    """The masks of an annotation, one for each label and image; what cannot be read is passed over with a line in the
    log. most_pixels: of a mask."""
    unions: dict[tuple[str, int, str], Mask] = {}
    for region, mask in _decode_regions(task, annotation.list_regions(), most_pixels):
        key = region.to_name, region.item_index or 0, region.label or ""
        before = unions.get(key)
        if before is None or before.shape == mask.shape:
            unions[key] = mask if before is None else before | mask
    found = []
    for (to_name, page, label), mask in unions.items():
        with contextlib.suppress(InvalidRequest):
            reference = config.for_task(task.data).find_image(to_name).find_reference(task.data, page)
            if mask.any():
                found.append(AcceptedMask.of(TaskImage(reference, task.id), label, mask))
    return found


def _decode_regions(
    task: Task, regions: Sequence[AnnotatedRegion], most_pixels: int
) -> Iterator[tuple[AnnotatedRegion, Mask]]:
    for region in regions:
        # A turned view has its places in the turned image.
        if region.image_rotation or region.size[0] * region.size[1] > most_pixels:
            continue
        try:
            yield region, region.decode()
        except InvalidRequest as error:
            logger.warning("a region of an annotation of task %s is passed over: %s", task.id, error)
