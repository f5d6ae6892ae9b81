"""The mean figures of many refinements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from m2n2_engine.tools.evaluate.measures.metrics import score
from m2n2_engine.tools.evaluate.options import Options
from m2n2_engine.tools.evaluate.refinement import Refinement


def summarise(refinements: Sequence[Refinement], options: Options) -> dict[str, Any]:
    """The figures of at least one refinement, as values of JSON. Objects and failures are the mean over the flips.
    IoU and F-measure are 0 to 1."""
    found = score([refinement.ious for refinement in refinements], options.first_number)
    flips = len(options.flips)
    figures = {
        "objects": len(refinements) / flips,
        "noc": found.noc,
        "failures": {percent: count / flips for percent, count in found.failures.items()},
        "mean_iou": found.mean_ious,
        "boundary_f": _average_boundaries(refinements),
    }
    filled = [found.filled_box_iou for found in refinements if found.filled_box_iou is not None]
    return {**figures, "filled_box_iou": statistics.fmean(filled)} if filled else figures


def _average_boundaries(refinements: Sequence[Refinement]) -> dict[int, float]:
    """By the number of clicks."""
    columns = zip(*(found.marks for found in refinements), strict=True)
    return {marks[0].number: statistics.fmean(mark.boundary_f for mark in marks) for marks in columns}
