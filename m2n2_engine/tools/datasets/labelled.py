"""Objects with labels from COCO's JSON, as annotation platforms and ``m2n2 propose`` write it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from m2n2_engine.errors import DatasetError
from m2n2_engine.types import Mask


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledObject:
    """An object of an image. path: of the image's file. label: name of its category."""

    path: Path
    label: str
    _segmentation: Any = dataclasses.field(repr=False, compare=False)
    _size: tuple[int, int] = dataclasses.field(repr=False, compare=False)
    _place: str = dataclasses.field(repr=False, compare=False)

    def mask(self) -> Mask:
        """bool ``(H, W)``. Raises DatasetError where the annotation holds none that can be read."""
        try:
            return np.asarray(run_lengths.decode(_encode(self._segmentation, *self._size)), bool)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise DatasetError(f"{self._place} has a segmentation that cannot be read: {error}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledImages:
    """What a file holds. files: of all images, also of those without an object. objects: in the order of the file."""

    files: tuple[Path, ...]
    objects: tuple[LabelledObject, ...]


def read_labelled(path: Path) -> LabelledImages:
    """The objects of a file of COCO's form. Crowds are left out.

    An image lies where its name says from the file's folder or from ``images`` in it, or bears the last part of that
    name there.

    Raises:
        DatasetError: the file or an image is missing, or it is not of COCO's form.
    """
    content = _read_json(path)
    try:
        labels = {category["id"]: str(category["name"]) for category in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        files = {number: _find_file(path.parent, str(image["file_name"])) for number, image in images.items()}
        objects = tuple(
            LabelledObject(
                files[each["image_id"]],
                labels[each["category_id"]],
                each["segmentation"],
                (images[each["image_id"]]["height"], images[each["image_id"]]["width"]),
                f"{path}, annotation {each.get('id')}",
            )
            for each in content["annotations"]
            if not each.get("iscrowd")
        )
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DatasetError(f"{path} is no COCO with masks and categories: {reason}") from None
    return LabelledImages(tuple(files.values()), objects)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no COCO with masks and categories: it is a {type(content).__name__}")
    return content


def _find_file(folder: Path, name: str) -> Path:
    last = PurePosixPath(name.replace("\\", "/")).name
    places = folder / name, folder / "images" / name, folder / last, folder / "images" / last
    for place in places:
        if place.is_file():
            return place
    raise DatasetError(f"the image {name!r} is neither in {folder} nor in {folder / 'images'}: put it there")


def _encode(segmentation: Any, height: int, width: int) -> Any:
    """Run lengths of what COCO knows: polygons, and run lengths as numbers or as text."""
    if isinstance(segmentation, list):
        return run_lengths.merge(run_lengths.frPyObjects(segmentation, height, width))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its size is {segmentation['size']}, the image's {[height, width]}")
    if isinstance(segmentation["counts"], list):
        return run_lengths.frPyObjects(segmentation, height, width)
    return segmentation
