"""Objects with labels from COCO's JSON, as annotation platforms and ``m2n2 propose`` write it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.coco_json import decode_mask, read_content
from m2n2_engine.types import Mask

_KIND = "COCO with masks and categories"


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledObject:
    """An object of an image. path: of the image's file. label: name of its category."""

    path: Path
    label: str
    _annotation: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)
    _image: Mapping[str, Any] = dataclasses.field(repr=False, compare=False)
    _source: Path = dataclasses.field(repr=False, compare=False)

    def mask(self) -> Mask:
        """bool ``(H, W)``. Raises DatasetError where the annotation holds none that can be read, or one without a
        pixel."""
        mask = decode_mask(self._annotation, self._image, self._source)
        if not mask.any():
            number = self._annotation.get("id")
            raise DatasetError(f"{self._source}, annotation {number} has a mask without a pixel: leave it out")
        return mask


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
    content = read_content(path, _KIND)
    try:
        labels = {category["id"]: str(category["name"]) for category in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        files = {number: _find_file(path.parent, str(image["file_name"])) for number, image in images.items()}
        objects = tuple(
            LabelledObject(
                files[each["image_id"]],
                labels[each["category_id"]],
                each,
                images[each["image_id"]],
                path,
            )
            for each in content["annotations"]
            if not each.get("iscrowd")
        )
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DatasetError(f"{path} is no {_KIND}: {reason}") from None
    return LabelledImages(tuple(files.values()), objects)


def _find_file(folder: Path, name: str) -> Path:
    last = PurePosixPath(name.replace("\\", "/")).name
    places = folder / name, folder / "images" / name, folder / last, folder / "images" / last
    for place in places:
        if place.is_file():
            return place
    raise DatasetError(f"the image {name!r} is neither in {folder} nor in {folder / 'images'}: put it there")
