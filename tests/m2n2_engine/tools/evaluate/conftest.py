"""A dataset of drawn discs, which the tests of the evaluation share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m2n2_engine.tools.datasets.coco import Instance, read_dataset, write_dataset
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.tools.drawing import write_picture
from m2n2_engine.types import Image, Mask


@pytest.fixture
def dataset_folder(tmp_path: Path, draw_disc: Callable[..., tuple[Image, Mask]]) -> Path:
    """``Discs``: three images of a disc with an unknown band around it; in the first a corner is an object too."""
    samples = []
    for name, center, radius in (("a", (14, 10), 7), ("b", (8, 12), 5), ("c", (20, 9), 8)):
        image, disc = draw_disc(width=32, height=24, center=center, radius=radius)
        _, around = draw_disc(width=32, height=24, center=center, radius=radius + 1.5)
        corner = np.zeros_like(disc)
        corner[20:, 25:] = True
        path = tmp_path / f"{name}.png"
        write_picture(path, image)
        samples.append((path, [GroundTruth(disc, around & ~disc), *([GroundTruth(corner)] if name == "a" else [])]))
    folder = tmp_path / "coco" / "Discs"
    write_dataset(folder, samples)
    return folder


@pytest.fixture
def instances(dataset_folder: Path) -> list[Instance]:
    """The disc and the corner of the first image, then a disc each."""
    return read_dataset(dataset_folder)
