"""What all readers of COCO's JSON have in common: the file, and the mask of an annotation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from m2n2_engine.errors import DatasetError
from m2n2_engine.types import Mask


def read_content(path: Path, kind: str) -> dict[str, Any]:
    """The object that a JSON file holds.

    kind: what the reader takes, for the message.

    Raises DatasetError where the file cannot be read, is no JSON, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no {kind}: it is a {type(content).__name__}")
    return content


def decode_mask(annotation: Mapping[str, Any], image: Mapping[str, Any], path: Path) -> Mask:
    """bool ``(H, W)`` of polygons, or of run lengths as numbers or as text; all False where there is no polygon.

    Args:
        annotation: with its ``segmentation``.
        image: with its ``height`` and ``width``.
        path: of the file that both are from, for the message.

    Raises:
        DatasetError: something is missing, or no mask of the image's size can be made of it.
    """
    try:
        size = int(image["height"]), int(image["width"])
        return np.asarray(run_lengths.decode(_encode(annotation["segmentation"], size)), bool)
    except Exception as error:  # pycocotools raises what it happens to meet: Exception itself, TypeError, IndexError
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DatasetError(
            f"{path}, annotation {annotation.get('id')}: no mask can be made of its segmentation ({reason}): correct it"
        ) from None


def _encode(segmentation: Any, size: tuple[int, int]) -> Any:
    height, width = size
    if isinstance(segmentation, list):
        # No polygon at all is the pixels of an empty one.
        polygons = run_lengths.frPyObjects(segmentation, height, width) if segmentation else []
        return run_lengths.merge(polygons) if polygons else run_lengths.encode(np.zeros(size, np.uint8, order="F"))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its size is {segmentation['size']}, the image's {[height, width]}")
    counts = segmentation["counts"]
    return segmentation if isinstance(counts, str) else run_lengths.frPyObjects(segmentation, height, width)
