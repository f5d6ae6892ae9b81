"""Data sets on disk: COCO's JSON with run-length encoded masks, beside the images.

``<folder>/gt.json`` loads with ``pycocotools.coco.COCO``. ``segmentation`` is the object for certain; a band that
nobody labelled is kept beside it as ``unknown_segmentation``, a key of our own that others pass over.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from m2n2_engine.errors import DatasetError, InvalidImage
from m2n2_engine.tools.context import read_image
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.types import Mask

_IMAGES = "images"
_ANNOTATIONS = "gt.json"
_CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}

_Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """One object of one image."""

    image_path: Path
    annotation_id: int
    _is_alone: bool = dataclasses.field(repr=False)
    _sure: _Json = dataclasses.field(repr=False, compare=False)
    _unknown: _Json | None = dataclasses.field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Unique in the data set: the image's name, with ``#<annotation id>`` where it has several objects."""
        return self.image_path.stem if self._is_alone else f"{self.image_path.stem}#{self.annotation_id}"

    def sure(self) -> Mask:
        """bool (H, W): object for certain."""
        return _decode(self._sure)

    def unknown(self) -> Mask:
        """bool (H, W): the band that nobody labelled; all False where the data set has none."""
        return np.zeros(self._sure["size"], bool) if self._unknown is None else _decode(self._unknown)


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What a data set holds. bands: objects with an unknown band. empty: images without an object."""

    images: int
    objects: int
    bands: int
    empty: int


def is_dataset(folder: Path) -> bool:
    """Whether a complete data set was written there."""
    return (folder / _ANNOTATIONS).is_file()


def read_dataset(folder: Path) -> list[Instance]:
    """The objects of a data set, in the order they were written. folder: ``datasets/coco/<Name>``.

    Raises DatasetError where it is missing, incomplete or damaged.
    """
    path = folder / _ANNOTATIONS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: (folder / _IMAGES / image["file_name"], _size(image)) for image in content["images"]}
        objects = Counter(annotation["image_id"] for annotation in content["annotations"])
        instances = [
            _parse_annotation(annotation, *files[annotation["image_id"]], objects[annotation["image_id"]] == 1)
            for annotation in content["annotations"]
        ]
    except FileNotFoundError:
        raise DatasetError(f"{folder} holds no {_ANNOTATIONS}: make it with `m2n2 datasets prepare`") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is no data set that `m2n2 datasets prepare` wrote ({type(error).__name__}: {error}): "
            f"delete {folder} and prepare it again"
        ) from None
    _check(folder, instances)
    return instances


def write_dataset(folder: Path, samples: Iterable[tuple[Path, Sequence[GroundTruth]]]) -> Counts:
    """Write a data set, in the place of the one that may be there; nothing changes where it cannot be completed.

    folder: ``datasets/coco/<Name>``. samples: image files, whose bytes are copied, with their objects. Raises
    InvalidImage where an image cannot be decoded or is not of the size of its masks.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
    (partial / _IMAGES).mkdir(parents=True)
    content: _Json = {"info": {"description": folder.name}, "images": [], "annotations": []}
    content["categories"] = [_CATEGORY]
    for path, truths in samples:
        image = _describe_image(path, len(content["images"]) + 1)
        content["images"].append(image)
        for truth in truths:
            _check_size(path, image, truth)
            content["annotations"].append(_annotate(truth, image["id"], len(content["annotations"]) + 1))
        shutil.copyfile(path, partial / _IMAGES / path.name)
    (partial / _ANNOTATIONS).write_text(json.dumps(content), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return _count(content)


def describe_mask(mask: Mask) -> _Json:
    """What COCO's annotation says of a mask bool ``(H, W)``: run lengths, area and box, all in pixels."""
    encoded = _encode(mask)
    return {
        "segmentation": encoded,
        "area": int(run_lengths.area(encoded)),
        "bbox": [float(value) for value in run_lengths.toBbox(encoded)],
        "iscrowd": 0,
    }


def _size(image: _Json) -> tuple[int, int]:
    return image["height"], image["width"]


def _describe_image(path: Path, number: int) -> _Json:
    height, width = read_image(path).shape[:2]
    return {"id": number, "file_name": path.name, "width": width, "height": height}


def _check_size(path: Path, image: _Json, truth: GroundTruth) -> None:
    if truth.sure.shape != _size(image):
        height, width = truth.sure.shape
        raise InvalidImage(
            f"{path} has {image['width']} x {image['height']} pixels, its mask {width} x {height}: "
            "they must be the same; put the right mask in its place"
        )


def _annotate(truth: GroundTruth, image: int, number: int) -> _Json:
    annotation = {
        "id": number,
        "image_id": image,
        "category_id": _CATEGORY["id"],
        **describe_mask(truth.sure),
    }
    return annotation if truth.unknown is None else annotation | {"unknown_segmentation": _encode(truth.unknown)}


def _count(content: _Json) -> Counts:
    annotations = content["annotations"]
    return Counts(
        images=len(content["images"]),
        objects=len(annotations),
        bands=sum("unknown_segmentation" in annotation for annotation in annotations),
        empty=len(content["images"]) - len({annotation["image_id"] for annotation in annotations}),
    )


def _parse_annotation(annotation: _Json, image: Path, size: tuple[int, int], is_alone: bool) -> Instance:
    sure, unknown = annotation["segmentation"], annotation.get("unknown_segmentation")
    for mask in (sure, sure if unknown is None else unknown):
        if tuple(mask["size"]) != size or not isinstance(mask["counts"], str):
            raise ValueError(f"annotation {annotation['id']} has no run-length encoded mask of its image's size")
    return Instance(image, annotation["id"], is_alone, sure, unknown)


def _check(folder: Path, instances: list[Instance]) -> None:
    if not instances:
        raise DatasetError(f"{folder} holds no object: prepare it again from images with masks")
    for instance in instances:
        if not instance.image_path.is_file():
            raise DatasetError(f"{instance.image_path} is missing: delete {folder} and prepare it again")
    name, times = Counter(instance.name for instance in instances).most_common(1)[0]
    if times > 1:
        raise DatasetError(f"{folder} has {times} objects named {name}: give their images different names")


def _encode(mask: Mask) -> _Json:
    encoded = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def _decode(encoded: _Json) -> Mask:
    return np.asarray(run_lengths.decode(encoded), bool)
