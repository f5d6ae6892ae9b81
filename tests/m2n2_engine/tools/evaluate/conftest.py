"""A dataset of drawn discs, refinements without an engine, and the command, which the tests of the evaluation share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from m2n2_engine.tools.datasets.coco import Instance, read_dataset, write_dataset
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.tools.drawing import write_picture
from m2n2_engine.tools.evaluate.measures.invariants import InvariantCounts
from m2n2_engine.tools.evaluate.options import Band, Flip, Options
from m2n2_engine.tools.evaluate.refinement import MARKED_NUMBERS, Journal, Mark, Refinement
from m2n2_engine.tools.evaluate.run import refine_all
from m2n2_engine.types import Click, ClickSegmenter, Image, Mask
from tests.helpers.evaluation import OPTIONS, MakeRefinement, Refine, Run


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


@pytest.fixture
def make_refinement() -> MakeRefinement:
    """A refinement of positive clicks with these IoUs, under the band as object."""

    def make(name: str, ious: tuple[float, ...], **values: Any) -> Refinement:
        first = 0 if values.get("box") else 1
        numbers = [number for number in MARKED_NUMBERS if first <= number < first + len(ious)]
        fields = {
            "band": Band.OBJECT,
            "flip": Flip.NONE,
            "clicks": (Click(0, 0),) * (len(ious) - 1 + first),
            "click_seconds": (None,) * len(ious),
            "prepare_seconds": None,
            "shown_mask": "",
            "size_share": 0.05,
            "marks": tuple(Mark(number, 0.5, "") for number in numbers),
            "invariants": InvariantCounts(clicks=len(ious) - 1 + first, masks=len(ious)),
            "box": None,
            "filled_box_iou": None,
            "moved_ious": (),
        }
        return Refinement(instance=name, ious=ious, **{**fields, **values})

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "out" / "Discs_metrics.jsonl", {"backbone": "fake"})


@pytest.fixture
def refine(instances: list[Instance], journal: Journal) -> Refine:
    """Refine all objects, or those that are given."""

    def run(
        segmenter: ClickSegmenter, options: Options = OPTIONS, jobs: int = 1, only: list[Instance] | None = None
    ) -> list[Refinement]:
        return refine_all(only or instances, segmenter, options, journal, jobs, lambda done, of: None)

    return run


@pytest.fixture(autouse=True)
def tiny_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("M2N2_"):
            monkeypatch.delenv(name)
    settings = {"BACKBONE": "tiny", "GRID": "8", "DISK_CACHE_FOLDER": str(tmp_path / "attention"), "THREADS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"M2N2_{name}", value)


@pytest.fixture
def evaluate(tmp_path: Path) -> Run:
    """Run the command; results go to ``out`` of the test's folder."""
    return lambda *options, settings=None: CliRunner().invoke(
        app, ["evaluate", "--clicks", "2", "--out", str(tmp_path / "out"), *map(str, options)], obj=settings
    )
