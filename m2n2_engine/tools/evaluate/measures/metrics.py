"""What is counted: IoU, number of clicks (NoC), failures, mean IoU per click."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Mask

THRESHOLDS = (85, 90, 95)
"""IoU at which an object counts as segmented, in percent. NoC85 and NoC90 are the paper's figures."""

Curve = Sequence[float]
"""The IoU after each click of one object, 0 to 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """Of many curves of the same length. noc: mean, by threshold. failures: curves that never reach it, by threshold.
    mean_ious: by click, from the first."""

    noc: Mapping[int, float]
    failures: Mapping[int, int]
    mean_ious: tuple[float, ...]


def measure_iou(mask: Mask, truth: Truth) -> float:
    """Intersection over union among the pixels that count, 0 to 1. mask: bool (H, W)."""
    counted = mask & truth.known
    return float((counted & truth.pixels).sum() / (counted | truth.pixels).sum())


def count_clicks(curve: Curve, percent: int) -> int:
    """NoC: the number of the first click whose IoU reaches this percentage; that of the last one if none does."""
    return next((number for number, iou in enumerate(curve, start=1) if iou >= percent / 100), len(curve))


def is_failure(curve: Curve, percent: int) -> bool:
    """Whether no click reaches this percentage; one that the very last click reaches is none."""
    return max(curve) < percent / 100


def score(curves: Sequence[Curve], first_number: int = 1) -> Score:
    """The figures of at least one curve. first_number: how many clicks its first IoU follows; 0 after a box."""
    before = first_number - 1
    return Score(
        noc={
            percent: statistics.fmean(count_clicks(curve, percent) + before for curve in curves)
            for percent in THRESHOLDS
        },
        failures={percent: sum(is_failure(curve, percent) for curve in curves) for percent in THRESHOLDS},
        mean_ious=tuple(statistics.fmean(column) for column in zip(*curves, strict=True)),
    )
