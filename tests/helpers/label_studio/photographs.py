"""Photographs to annotate, and what their masks must be."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image as PillowImage
from skimage.draw import polygon2mask

from backend.label_studio import brush_rle
from backend.label_studio.client import LabelStudioClient
from m2n2_engine.types import Mask

_SAMPLES = Path(skimage.__file__).parent / "data"
_ORIENTATION_TAG, _TURN_RIGHT = 0x0112, 6


def read_sample(name: str) -> bytes:
    """One of the photographs that scikit-image brings."""
    return (_SAMPLES / name).read_bytes()


def lay_down(data: bytes, kind: str = "JPEG") -> bytes:
    """The photograph as a camera stores it that was held upright: on its side, with a note to turn it right."""
    image = PillowImage.open(io.BytesIO(data)).convert("RGB").transpose(PillowImage.Transpose.ROTATE_90)
    exif = PillowImage.Exif()
    exif[_ORIENTATION_TAG] = _TURN_RIGHT
    file = io.BytesIO()
    image.save(file, kind, quality=95, exif=exif)
    return file.getvalue()


def decode_region(region: dict[str, Any]) -> Mask:
    """The mask of a brush region."""
    return brush_rle.decode(region["value"]["rle"], (region["original_height"], region["original_width"]))


def decode_bitmask(url: str) -> Mask:
    """The mask of a bitmask's ``data:`` URL: opaque where it is, of one colour, black or white."""
    head, _, payload = url.partition(",")
    assert head == "data:image/png;base64"
    file = PillowImage.open(io.BytesIO(base64.b64decode(payload)))
    assert file.mode == "RGBA"
    pixels = np.array(file)
    mask = pixels[..., -1] > 0
    assert set(np.unique(pixels)) <= {0, 255}
    assert len(np.unique(pixels[mask], axis=0)) <= 1
    assert not pixels[~mask].any()
    return mask


def rasterise(regions: Iterable[dict[str, Any]]) -> Mask:
    """The mask of polygon regions of one image: the pixels whose centre lies within one of them."""
    masks = []
    for region in regions:
        shape = region["original_height"], region["original_width"]
        columns, rows = np.array(region["value"]["points"]).T / 100 * np.array([shape[1], shape[0]])[:, None] - 0.5
        masks.append(polygon2mask(shape, np.stack([rows, columns], axis=1)))
    return np.any(masks, axis=0)


def compute_iou(mask: Mask, other: Mask) -> float:
    """Intersection over union."""
    return float((mask & other).sum() / (mask | other).sum())


def assert_same(mask: Mask, expected: Mask) -> None:
    """Every pixel, of a mask that is neither empty nor everything."""
    assert 0 < expected.mean() < 1
    assert mask.shape == expected.shape
    assert np.array_equal(mask, expected), f"{(mask != expected).sum()} of {mask.size} pixels differ"


def find_newest_task(client: LabelStudioClient, project: int) -> int:
    """The number of the task that was added last."""
    tasks = client.get("/api/tasks", project=project, page_size=100)["tasks"]
    return max(int(task["id"]) for task in tasks)
