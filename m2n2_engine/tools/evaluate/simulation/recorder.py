"""What is kept of one object's answers, measured as they come."""

from __future__ import annotations

import numpy as np

from m2n2_engine.tools.evaluate.measures.boundary import measure_boundary_f
from m2n2_engine.tools.evaluate.measures.invariants import InvariantCounts, Step, check_step, sum_counts
from m2n2_engine.tools.evaluate.measures.metrics import is_failure, measure_iou
from m2n2_engine.tools.evaluate.refinement import MARKED_NUMBERS, SHOWN_PERCENT, Mark, Name, Refinement, encode_mask
from m2n2_engine.tools.evaluate.simulation.boxes import fill_box
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Box, Click, Mask


class Recorder:
    """The answers on one object. mask: the newest, bool (H, W), empty at first. prepare_seconds: to be set where the
    image was prepared for this object."""

    def __init__(self, truth: Truth, box: Box | None) -> None:
        """box: that is given with every click."""
        self.mask: Mask = np.zeros(truth.pixels.shape, bool)
        self.prepare_seconds: float | None = None
        self._truth = truth
        self._box = box
        self._shown = self.mask
        self._newest: Step | None = None
        self._ious: list[float] = []
        self._click_seconds: list[float | None] = []
        self._marks: list[Mark] = []
        self._counts = InvariantCounts()

    def add(self, mask: Mask, clicks: tuple[Click, ...], seconds: float | None) -> None:
        """An answer. clicks: that it follows; none for a box alone. seconds: what it took; None where that says nothing
        of a click."""
        if not self._ious or is_failure(self._ious, SHOWN_PERCENT):
            self._shown = mask
        step = Step(mask, measure_iou(mask, self._truth), clicks)
        self._counts = sum_counts([self._counts, check_step(step, self._newest, self._truth, self._box)])
        self._newest = step
        self.mask = mask
        self._ious.append(step.iou)
        self._click_seconds.append(seconds)
        if len(clicks) in MARKED_NUMBERS:
            self._marks.append(self._mark(len(clicks)))

    def finish(self, name: Name, clicks: int, moved_ious: tuple[float, ...]) -> Refinement:
        """All of it. clicks: that were to be made; where fewer were, the last answer stays."""
        made = () if self._newest is None else self._newest.clicks
        missing = clicks - len(made)
        marks = [self._mark(number) for number in MARKED_NUMBERS if len(made) < number <= clicks]
        instance, band, flip = name
        return Refinement(
            instance=instance,
            band=band,
            flip=flip,
            clicks=tuple(made),
            ious=(*self._ious, *self._ious[-1:] * missing),
            click_seconds=tuple(self._click_seconds),
            prepare_seconds=self.prepare_seconds,
            shown_mask=encode_mask(self._shown),
            size_share=float(self._truth.pixels.mean()),
            marks=(*self._marks, *marks),
            invariants=self._counts,
            box=self._box,
            filled_box_iou=self._measure_filled_box(),
            moved_ious=moved_ious,
        )

    def _mark(self, number: int) -> Mark:
        return Mark(number, measure_boundary_f(self.mask, self._truth), encode_mask(self.mask))

    def _measure_filled_box(self) -> float | None:
        return None if self._box is None else measure_iou(fill_box(self._box, self.mask.shape), self._truth)
