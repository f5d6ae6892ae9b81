"""The worst objects click by click in one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from m2n2_engine.tools.context import read_image
from m2n2_engine.tools.datasets.coco import Instance
from m2n2_engine.tools.drawing import draw_overlay
from m2n2_engine.tools.evaluate.options import Flip
from m2n2_engine.tools.evaluate.pictures.outlines import outline_box, outline_truth
from m2n2_engine.tools.evaluate.pictures.plots import save_picture
from m2n2_engine.tools.evaluate.refinement import Mark, Refinement, decode_mask
from m2n2_engine.tools.evaluate.truth import ScalarT, read_truth
from m2n2_engine.types import Box, Click, Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RANKED_NUMBER = 5
"""The worst are those with the lowest IoU after so many clicks. Here: more corrections than that nobody likes."""

_MARGIN = 0.15
"""Around what is shown, as a share of its longer side."""

_SMALLEST_SIDE = 320
"""A detail is enlarged until its longer side has so many pixels, so that the dots of clicks do not hide it."""

_INCHES_A_CASE = (3.2, 2.9)
_TITLE_INCHES = 0.8
_DOTS_PER_INCH = 100
_CAPTION_CHARACTERS = 24
_LEGEND = "worst first; blue: mask; yellow: object in truth; dashes: box; dots: clicks, green positive, red negative"


@dataclasses.dataclass(frozen=True, slots=True)
class Detail:
    """A part of a picture, enlarged. left, top, right, bottom: whole pixels of the picture. scale: by how much."""

    left: int
    top: int
    right: int
    bottom: int
    scale: int

    def cut(self, pixels: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
        """It of an image (H, W, 3) or a mask (H, W)."""
        part = pixels[self.top : self.bottom, self.left : self.right]
        return np.ascontiguousarray(part.repeat(self.scale, axis=0).repeat(self.scale, axis=1))

    def move_click(self, click: Click) -> Click:
        """To the middle of its enlarged pixel."""
        middle = (self.scale - 1) / 2
        x, y = (click.x - self.left) * self.scale + middle, (click.y - self.top) * self.scale + middle
        return dataclasses.replace(click, x=x, y=y)

    def move_box(self, box: Box | None) -> Box | None:
        """In pixels of the detail."""
        if box is None:
            return None
        left, right = ((x - self.left) * self.scale for x in (box.left, box.right))
        top, bottom = ((y - self.top) * self.scale for y in (box.top, box.bottom))
        return Box(left, top, right, bottom)


def choose_worst(refinements: Sequence[Refinement], count: int) -> list[Refinement]:
    """Of the unflipped ones so many with the lowest IoU after click 5, or after the last one of fewer; worst first."""
    unflipped = [found for found in refinements if found.flip is Flip.NONE]
    return sorted(unflipped, key=lambda found: found.find_iou(_RANKED_NUMBER))[:count]


def draw_click_sheet(title: str, worst: Sequence[Refinement], instances: Mapping[str, Instance], path: Path) -> None:
    """Write a PNG with a row for each refinement: its mask after 1, 2, 3, 5 and 10 clicks, or the box alone first, with
    the clicks until then. worst: at least one. instances: by name. Raises ConfigurationError where it cannot be
    written."""
    from matplotlib.figure import Figure

    columns = len(worst[0].marks)
    size = (max(2, columns) * _INCHES_A_CASE[0], len(worst) * _INCHES_A_CASE[1] + _TITLE_INCHES)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    for row, case in zip(figure.subplots(len(worst), columns, squeeze=False), worst, strict=True):
        _draw_row(row, case, instances[case.instance])
    figure.suptitle(f"{title}\n{_LEGEND}", fontsize="medium", wrap=True)
    save_picture(figure, path)


def choose_detail(masks: Sequence[Mask]) -> Detail:
    """What shows all pixels of any of these bool (H, W) masks, with a margin. One at least has a pixel."""
    seen = np.logical_or.reduce(masks)
    height, width = seen.shape
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    margin = 1 + round(_MARGIN * max(columns[-1] - columns[0], rows[-1] - rows[0]))
    left, top = max(0, int(columns[0]) - margin), max(0, int(rows[0]) - margin)
    right, bottom = min(width, int(columns[-1]) + 1 + margin), min(height, int(rows[-1]) + 1 + margin)
    return Detail(left, top, right, bottom, max(1, _SMALLEST_SIDE // max(right - left, bottom - top)))


def _draw_row(row: Sequence[Axes], case: Refinement, instance: Instance) -> None:
    image, truth = read_image(instance.image_path), read_truth(instance, case.band).pixels
    masks = [decode_mask(mark.mask, truth.shape) for mark in case.marks]
    detail = choose_detail([truth, *masks])
    for axes, mark, mask in zip(row, case.marks, masks, strict=True):
        clicks = [detail.move_click(click) for click in case.clicks[: mark.number]]
        axes.set_axis_off()
        axes.imshow(draw_overlay(detail.cut(image), detail.cut(mask), clicks))
        outline_truth(axes, detail.cut(truth))
        outline_box(axes, detail.move_box(case.box))
        axes.set_title(_write_caption(case, mark), fontsize="small")


def _write_caption(case: Refinement, mark: Mark) -> str:
    reached = f"click {mark.number}: IoU {case.find_iou(mark.number):.3f}"
    if mark.number == 0:
        reached = f"box: IoU {case.find_iou(0):.3f}"
    return f"{case.instance[:_CAPTION_CHARACTERS]} ({case.size_share:.2%})\n{reached}"
