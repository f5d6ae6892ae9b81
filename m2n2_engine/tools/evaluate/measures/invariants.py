"""What annotators expect of every click, and how often it does not hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from m2n2_engine.tools.evaluate.simulation.boxes import fill_box
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Box, Click, Mask

LOSS = 0.05
"""A click that lowers the IoU by more than this has lost something. Here."""

FAR_SHARE = 0.2
"""What is farther than this share of the image's diagonal from a click is not what it was meant for. Here."""

SPECK_PIXELS = 50
"""Pieces and holes below this many pixels are specks. Here: a disc of 8 pixels across."""


@dataclasses.dataclass(frozen=True, slots=True)
class InvariantCounts:
    """Over answers. clicks: answers to a click. masks: all answers, that to a box alone among them.

    negative_adds, positive_removes: clicks whose mask gained pixels at a negative click, or lost some at a positive
    one. sign_broken: clicks after whose answer the pixel of any click has the other sign. loses: clicks that lower the
    IoU by more than ``LOSS``. changed_far: clicks that change pixels farther than ``FAR_SHARE`` of the diagonal from
    themselves. far_right_pixels, far_wrong_pixels: those of them that became right and wrong, of the pixels that count.
    small_pieces, small_holes: those of all masks together. outside_box: masks with pixels outside of their box.
    outside_box_pixels: how many.
    """

    clicks: int = 0
    masks: int = 0
    negative_adds: int = 0
    positive_removes: int = 0
    sign_broken: int = 0
    loses: int = 0
    changed_far: int = 0
    far_right_pixels: int = 0
    far_wrong_pixels: int = 0
    small_pieces: int = 0
    small_holes: int = 0
    outside_box: int = 0
    outside_box_pixels: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """An answer. mask: bool (H, W). iou: of it. clicks: those it follows, the newest last; none for a box alone."""

    mask: Mask
    iou: float
    clicks: Sequence[Click]


def sum_counts(counts: Iterable[InvariantCounts]) -> InvariantCounts:
    """All of them together."""
    rows = [dataclasses.astuple(each) for each in counts]
    return InvariantCounts(*(sum(column) for column in zip(*rows, strict=True)))


def check_step(step: Step, before: Step | None, truth: Truth, box: Box | None) -> InvariantCounts:
    """The counts of one answer. before: the one it follows. The first answer changes nothing that was there: None."""
    pieces, holes = count_specks(step.mask)
    outside = 0 if box is None else int((step.mask & ~fill_box(box, step.mask.shape)).sum())
    counts = InvariantCounts(
        clicks=int(bool(step.clicks)),
        masks=1,
        sign_broken=int(any(step.mask[int(each.y), int(each.x)] != each.positive for each in step.clicks)),
        small_pieces=pieces,
        small_holes=holes,
        outside_box=int(outside > 0),
        outside_box_pixels=outside,
    )
    return counts if before is None else sum_counts([counts, _check_change(step, before, truth)])


def count_specks(mask: Mask) -> tuple[int, int]:
    """Pieces of a bool (H, W) mask, and holes in it, of fewer than ``SPECK_PIXELS``, both 4-connected. What reaches the
    border of the image is no hole."""
    pieces = _measure_parts(mask)
    background = np.pad(~mask, 1, constant_values=True)  # joins all that reaches the border
    holes = _measure_parts(background)
    return sum(area < SPECK_PIXELS for area in pieces), sum(area < SPECK_PIXELS for area in holes[1:])


def _measure_parts(mask: Mask) -> list[int]:
    """Pixels of each 4-connected part, from the top left."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return [int(area) for area in stats[1:, cv2.CC_STAT_AREA]]


def _check_change(step: Step, before: Step, truth: Truth) -> InvariantCounts:
    click = step.clicks[-1]
    added, removed = step.mask & ~before.mask, before.mask & ~step.mask
    rows, columns = np.nonzero(added | removed)
    distance = np.hypot(columns - click.x, rows - click.y)
    is_far = distance > FAR_SHARE * math.hypot(*step.mask.shape)
    far = rows[is_far], columns[is_far]
    is_right, counted = step.mask[far] == truth.pixels[far], truth.known[far]
    return InvariantCounts(
        negative_adds=int(not click.positive and bool(added.any())),
        positive_removes=int(click.positive and bool(removed.any())),
        loses=int(before.iou - step.iou > LOSS),
        changed_far=int(bool(is_far.any())),
        far_right_pixels=int((is_right & counted).sum()),
        far_wrong_pixels=int((~is_right & counted).sum()),
    )
