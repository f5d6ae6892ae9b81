"""COCO's JSON of somebody else, with polygons or run lengths -> the objects of its images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from rich.progress import Progress

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.types import Mask

_Json = dict[str, Any]


def read_coco(path: Path, folder: Path, progress: Progress) -> Iterator[tuple[Path, list[GroundTruth]]]:
    """The image files of a JSON file, with the objects of each: every annotation but crowds (``iscrowd``), and those
    without a pixel. What is left out is said.

    path: has ``images`` and ``annotations`` as COCO's instances have. folder: the images' ``file_name`` are from here.
    Raises DatasetError where something is missing or cannot be read; before the first image where it can be known.
    """
    content = _read(path)
    try:
        images = {image["id"]: image for image in content["images"]}
        of_image: dict[Any, list[_Json]] = {number: [] for number in images}
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        files = {number: folder / image["file_name"] for number, image in images.items()}
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no COCO of instances: it lacks {error}") from None
    _check_files(files)
    return _read_objects(path, images, of_image, files, progress)


def _read(path: Path) -> _Json:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DatasetError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no COCO of instances: it lacks 'images'")
    return content


def _check_files(files: dict[Any, Path]) -> None:
    missing = next((file for file in files.values() if not file.is_file()), None)
    if missing is not None:
        raise DatasetError(f"{missing} is missing: --images names the folder that the file names start from")
    # The data set keeps all images in one folder.
    names = Counter(file.name for file in files.values()).most_common(1)
    if names and names[0][1] > 1:
        raise DatasetError(f"{names[0][1]} images are named {names[0][0]}: give them different names")


def _read_objects(
    path: Path, images: dict[Any, _Json], of_image: dict[Any, list[_Json]], files: dict[Any, Path], progress: Progress
) -> Iterator[tuple[Path, list[GroundTruth]]]:
    crowds = empty = 0
    for number in progress.track(images, description=f"converting {path.name}"):
        masks = []
        for annotation in of_image[number]:
            if annotation.get("iscrowd") and not isinstance(annotation.get("segmentation"), list):
                crowds += 1
            elif (mask := _decode(path, annotation, images[number])).any():
                masks.append(mask)
            else:
                empty += 1
        yield files[number], [GroundTruth(mask) for mask in masks]
    if crowds or empty:
        text = f"{path}: left out {crowds} crowds (iscrowd) and {empty} annotations without a pixel"
        progress.console.print(text, markup=False, highlight=False)


def _decode(path: Path, annotation: _Json, image: _Json) -> Mask:
    try:
        height, width = int(image["height"]), int(image["width"])
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            if not shape:
                return np.zeros((height, width), bool)
            encoded = run_lengths.merge(run_lengths.frPyObjects(shape, height, width))
        else:
            encoded = shape if isinstance(shape["counts"], str) else run_lengths.frPyObjects(shape, *shape["size"])
        return np.asarray(run_lengths.decode(encoded), bool)
    except Exception as error:  # pycocotools raises what it happens to meet: Exception itself, TypeError, IndexError
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DatasetError(
            f"{path}, annotation {annotation.get('id')}: no mask can be made of its segmentation ({reason}): correct it"
        ) from None
