"""Where published data sets keep an image and its ground truth."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from m2n2_engine.errors import DatasetError
from m2n2_engine.image_file import find_image_files

_LAYOUTS = (
    ("data_GT", "boundary_GT"),  # GrabCut, in f-BRS
    ("images", "masks"),  # Berkeley, in f-BRS; and what people make themselves
    ("img", "gt"),  # DAVIS, in f-BRS
    ("img", "inst"),  # SBD
    ("image", "annotation"),  # BraTS, in SimpleClick
    ("image", "annotations"),  # OAI-ZIB, in SimpleClick
)
"""Folder of the images, folder of the ground truth."""

_PARENTS = ("*/", "*/*/")
"""Archives put one or two folders around them (``benchmark_RELEASE/dataset``)."""


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file and the file of its ground truth."""

    image: Path
    truth: Path


def find_labelled_images(folder: Path, split: str | None = None) -> list[LabelledImage]:
    """The images of a known layout in a folder or up to two folders below, in the order of their names.

    split: file beside the layout's two folders that lists the names of the images to take, one a line; None takes all.
    Ground truth without an image is passed over. Raises DatasetError where there is no known layout, or a file is
    missing or not the only one of its name.
    """
    images, truths = _find_layout(folder)
    image_files = _by_stem(find_image_files(images))
    truth_files = _by_stem(path for path in truths.iterdir() if path.is_file())
    names = sorted(image_files) if split is None else _read_split(images.parent / split)
    if not names:
        raise DatasetError(f"{images} holds no images: put them there")
    return [LabelledImage(_only(image_files, name, images), _only(truth_files, name, truths)) for name in names]


def _find_layout(folder: Path) -> tuple[Path, Path]:
    parents = itertools.chain([folder], *(sorted(folder.glob(pattern)) for pattern in _PARENTS))
    for parent, (images, truths) in itertools.product(parents, _LAYOUTS):
        if (parent / images).is_dir() and (parent / truths).is_dir():
            return parent / images, parent / truths
    known = ", ".join(f"{images}/ and {truths}/" for images, truths in _LAYOUTS)
    raise DatasetError(f"{folder} has none of the known layouts ({known}): give the folder that holds both")


def _by_stem(files: Iterable[Path]) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in sorted(files):
        if not path.name.startswith("."):  # what desktops leave: .DS_Store, ._name.png
            found[path.stem].append(path)
    return found


def _only(files: dict[str, list[Path]], name: str, folder: Path) -> Path:
    found = files.get(name, [])
    if not found:
        raise DatasetError(f"{folder} has no file {name}.*: every image needs its ground truth; add it")
    if len(found) > 1:
        raise DatasetError(f"{found[0]} and {found[1].name} have the same name: take one of them away")
    return found[0]


def _read_split(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}): it lists the benchmark's images; add it"
        ) from None
