"""The best, the median and the worst cases of a dataset in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m2n2_engine.tools.context import read_image
from m2n2_engine.tools.datasets.coco import Instance
from m2n2_engine.tools.drawing import draw_overlay
from m2n2_engine.tools.evaluate.measures.metrics import count_clicks, is_failure
from m2n2_engine.tools.evaluate.options import Flip
from m2n2_engine.tools.evaluate.pictures.outlines import outline_box, outline_truth
from m2n2_engine.tools.evaluate.pictures.plots import save_picture
from m2n2_engine.tools.evaluate.refinement import SHOWN_PERCENT, Refinement, decode_mask
from m2n2_engine.tools.evaluate.truth import read_truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_INCHES_A_CASE = (3.6, 3.0)
_TITLE_INCHES = 0.7
_DOTS_PER_INCH = 100
_CAPTION_CHARACTERS = 34
_LEGEND = "blue: mask; yellow line: object in truth; dashes: box; dots: clicks, green positive, red negative"


def choose_cases(refinements: Sequence[Refinement]) -> dict[str, list[Refinement]]:
    """Up to four of the best, of the median and of the worst, each from better to worse: by the clicks to an IoU of
    0.90, then by the mean IoU over all clicks. None is in two groups; few cases fill the best first, then the worst."""
    ranked = sorted(refinements, key=lambda found: (count_clicks(found.ious, SHOWN_PERCENT), -np.mean(found.ious)))
    best, rest = ranked[:_COLUMNS], ranked[_COLUMNS:]
    worst, middle = rest[-_COLUMNS:], rest[:-_COLUMNS]
    start = max(0, (len(middle) - _COLUMNS) // 2)
    groups = {"best": best, "median": middle[start : start + _COLUMNS], "worst": worst}
    return {name: cases for name, cases in groups.items() if cases}


def draw_contact_sheet(
    title: str, refinements: Sequence[Refinement], instances: Mapping[str, Instance], path: Path
) -> None:
    """Write a PNG of the unflipped ones among refinements of one band. instances: by name. Raises ConfigurationError
    where it cannot be written."""
    from matplotlib.figure import Figure

    groups = choose_cases([found for found in refinements if found.flip is Flip.NONE])
    columns = max(map(len, groups.values()))
    size = (max(2, columns) * _INCHES_A_CASE[0], len(groups) * _INCHES_A_CASE[1] + _TITLE_INCHES)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    rows = figure.subplots(len(groups), columns, squeeze=False)
    for row, (name, cases) in zip(rows, groups.items(), strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, case in zip(row, cases, strict=False):
            _draw_case(axes, name, case, instances[case.instance])
    figure.suptitle(f"{title}\n{_LEGEND}", fontsize="medium")
    save_picture(figure, path)


def _draw_case(axes: Axes, group: str, case: Refinement, instance: Instance) -> None:
    image = read_image(instance.image_path)
    truth = read_truth(instance, case.band)
    clicks = case.shown_clicks
    axes.imshow(draw_overlay(image, decode_mask(case.shown_mask, truth.pixels.shape), clicks))
    outline_truth(axes, truth.pixels)
    outline_box(axes, case.box)
    never = f", never {SHOWN_PERCENT / 100:.2f}" if is_failure(case.ious, SHOWN_PERCENT) else ""
    count = f"{len(clicks)} click{'' if len(clicks) == 1 else 's'}"
    given = count if case.box is None else f"box and {count}"
    reached = f"{given}, IoU {case.find_iou(len(clicks)):.3f}{never}"
    axes.set_title(f"{group}: {case.instance[:_CAPTION_CHARACTERS]}\n{reached}")
