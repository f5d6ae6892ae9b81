"""The forms that an object's mask is written in."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Box, Click, Image, Mask, Segmentation, Stroke


class Form(enum.StrEnum):
    """What is written of an object."""

    MASK = "mask"
    POLYGON = "polygon"
    COCO = "coco"
    OVERLAY = "overlay"
    CUTOUT = "cutout"


_ENDINGS: Mapping[Form, tuple[str, ...]] = {
    Form.MASK: (".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"),
    Form.POLYGON: (".json",),
    Form.COCO: (".json",),
    Form.CUTOUT: (".png", ".tif", ".tiff"),
}
"""Of the files, the usual one first; an overlay is a picture for people, which may lose a little."""

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jp2", ".webp", ".avif", ".gif")

_TOLERANCE_PIXELS = 1.0
"""How far a polygon may be from the mask's outline. Here: the default of M2N2_POLYGON_TOLERANCE_PIXELS."""


@dataclasses.dataclass(frozen=True, slots=True)
class FoundObject:
    """An object that was segmented.

    image: name of its file. pixels: of the image. name, label: as of its prompt. result: the engine's answer.
    """

    image: str
    pixels: Image
    clicks: Sequence[Click | Stroke]
    box: Box | None
    name: str | None
    label: str
    result: Segmentation


def usual_ending(form: Form) -> str:
    """Of the files of a form, with the dot."""
    return _ENDINGS.get(form, (".png",))[0]


def check_ending(path: Path, form: Form) -> None:
    """Raise ConfigurationError where a file of this form cannot have this ending: before anything is computed."""
    allowed = _ENDINGS.get(form)
    ending = path.suffix.lower()
    if allowed is None or not ending or ending in allowed:
        return
    usual = allowed[0]
    if ending in _LOSSY and form in (Form.MASK, Form.CUTOUT):
        raise ConfigurationError(
            f"{path}: {ending} does not keep the values of a {form}: name a PNG, {path.with_suffix(usual)}"
        )
    if form is not Form.MASK:  # a mask's other endings are refused by what writes it
        raise ConfigurationError(f"{path}: a {form} is not written as {ending}: use {usual}")


def write_object(path: Path, form: Form, found: FoundObject) -> None:
    """Write one object in one file. Raises ConfigurationError where that cannot be."""
    from m2n2_engine.tools.drawing import draw_overlay, write_picture

    mask = found.result.mask
    if form is Form.MASK:
        write_picture(path, mask.astype(np.uint8) * 255)
    elif form is Form.OVERLAY:
        write_picture(path, draw_overlay(found.pixels, mask, found.clicks, found.box))
    elif form is Form.CUTOUT:
        write_picture(path, cut_out(found.pixels, mask))
    elif form is Form.POLYGON:
        write_json(path, _describe_polygons(found))
    else:
        write_json(path, describe_coco([found]))


def cut_out(image: Image, mask: Mask) -> Image:
    """The object on a transparent ground, RGBA ``(h, w, 4)``, cut to its bounding box; all of the image where the mask
    is empty."""
    drawn = np.dstack([image * mask[:, :, None], mask.astype(np.uint8) * 255])
    if not mask.any():
        return drawn
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def describe_coco(found: Sequence[FoundObject]) -> dict[str, Any]:
    """COCO's JSON of these objects: run-length encoded masks, which pycocotools reads."""
    from m2n2_engine.tools.datasets.coco import describe_mask

    labels = list(dict.fromkeys(each.label for each in found))
    images: dict[str, dict[str, Any]] = {}
    annotations = []
    for number, each in enumerate(found, 1):
        height, width = each.result.mask.shape
        image = images.setdefault(
            each.image, {"id": len(images) + 1, "file_name": each.image, "width": width, "height": height}
        )
        annotations.append(
            {
                "id": number,
                "image_id": image["id"],
                "category_id": labels.index(each.label) + 1,
                **describe_mask(each.result.mask),
                "score": round(each.result.score, 4),
            }
        )
    categories = [{"id": number, "name": label} for number, label in enumerate(labels, 1)]
    return {"images": list(images.values()), "annotations": annotations, "categories": categories}


def write_json(path: Path, content: object) -> None:
    """Raises ConfigurationError where the file cannot be written."""
    try:
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _describe_polygons(found: FoundObject) -> dict[str, Any]:
    from backend.label_studio.shapes.polygons import trace_polygons

    height, width = found.result.mask.shape
    return {
        "image": found.image,
        "width": width,
        "height": height,
        "label": found.label,
        "score": round(found.result.score, 4),
        "polygons": [polygon.tolist() for polygon in trace_polygons(found.result.mask, _TOLERANCE_PIXELS)],
    }
