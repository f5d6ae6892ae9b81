"""COCO's JSON of somebody else, with polygons or run lengths -> the objects of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import Progress

from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.datasets.coco_json import decode_mask, read_content
from m2n2_engine.tools.datasets.ground_truth import GroundTruth

_Json = dict[str, Any]

_KIND = "COCO of instances"


def read_coco(path: Path, folder: Path, progress: Progress) -> Iterator[tuple[Path, list[GroundTruth]]]:
    """The image files of a JSON file, with the objects of each: every annotation but crowds (``iscrowd``), and those
    without a pixel. What is left out is said.

    path: has ``images`` and ``annotations`` as COCO's instances have. folder: the images' ``file_name`` are from here.
    Raises DatasetError where something is missing or cannot be read; before the first image where it can be known.
    """
    content = read_content(path, _KIND)
    try:
        images = {image["id"]: image for image in content["images"]}
        of_image: dict[Any, list[_Json]] = {number: [] for number in images}
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        files = {number: folder / image["file_name"] for number, image in images.items()}
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no {_KIND}: it lacks {error}") from None
    _check_files(files)
    return _read_objects(path, images, of_image, files, progress)


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
            elif (mask := decode_mask(annotation, images[number], path)).any():
                masks.append(mask)
            else:
                empty += 1
        yield files[number], [GroundTruth(mask) for mask in masks]
    if crowds or empty:
        text = f"{path}: left out {crowds} crowds (iscrowd) and {empty} annotations without a pixel"
        progress.console.print(text, markup=False, highlight=False)
