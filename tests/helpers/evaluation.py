"""What the tests of ``m2n2 evaluate`` share: segmenters that are functions, and the tables that are printed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import Result

from m2n2_engine.tools.evaluate.options import Band, Flip, Options, Rule
from m2n2_engine.tools.evaluate.refinement import Refinement
from m2n2_engine.types import Box, Click, EngineStatus, Image, Mask, Segmentation, Timings

OPTIONS = Options(Rule.M2N2, tuple(Band), (Flip.NONE,), clicks=4)

Answer = Callable[[Image, Sequence[Click]], Mask]
MakeRefinement = Callable[..., Refinement]
Refine = Callable[..., list[Refinement]]
Run = Callable[..., Result]


class FakeSegmenter:
    """Gives the masks of a function, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[Image, tuple[Click, ...]]] = []
        self.boxes: list[Box | None] = []
        self._answer = answer

    def segment(
        self, image: Image, clicks: Sequence[Click], box: Box | None = None, mask: Mask | None = None
    ) -> Segmentation:
        self.asked.append((image, tuple(clicks)))
        self.boxes.append(box)
        return Segmentation(self._answer(image, clicks), 0.5, Timings(0.25, 0.125))

    def status(self) -> EngineStatus:
        return EngineStatus("fake-1")


def answer_nothing(image: Image, clicks: Sequence[Click]) -> Mask:
    return np.zeros(image.shape[:2], bool)


def answer_everything(image: Image, clicks: Sequence[Click]) -> Mask:
    return np.ones(image.shape[:2], bool)


def answer_red(image: Image, clicks: Sequence[Click]) -> Mask:
    """The discs without their bands."""
    return np.asarray(image[:, :, 0] > 200)


@dataclasses.dataclass
class FakeInstance:
    """An object of an image that needs no data set."""

    image_path: Path
    pixels: Mask
    name: str = "fake"

    def sure(self) -> Mask:
        return self.pixels

    def unknown(self) -> Mask:
        return np.zeros_like(self.pixels)


def succeed(result: Result) -> list[list[str]]:
    """The cells of the first table, its heading first."""
    return read_tables(result)[0]


def read_tables(result: Result) -> list[list[list[str]]]:
    """The cells of each table, its heading first."""
    assert result.exit_code == 0, result.output + repr(result.exception)
    tables: list[list[list[str]]] = []
    before = ""
    for line in result.stdout.splitlines():
        if line.startswith("|") and not before.startswith("|"):
            tables.append([])
        if line.startswith("|") and "---" not in line:
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return tables


def read_figures(tmp_path: Path) -> Any:
    """What the command wrote of the data set ``Discs``."""
    return json.loads((tmp_path / "out" / "Discs_metrics.json").read_text())
