"""The simulated annotator at work on one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m2n2_engine.tools.evaluate.clicks import next_click
from m2n2_engine.tools.evaluate.metrics import is_failure, measure_iou
from m2n2_engine.tools.evaluate.options import Rule
from m2n2_engine.tools.evaluate.refinement import SHOWN_PERCENT, Name, Refinement
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Click, Image, Segmentation

Segment = Callable[[Image, Sequence[Click]], Segmentation]
"""``Segmenter.segment``, without a box."""


class Annotator:
    """Refines the objects of one image, one after the other."""

    def __init__(self, segment: Segment, image: Image, rule: Rule, clicks: int) -> None:
        """image: RGB uint8 (H, W, 3). clicks: of each object."""
        self._segment = segment
        self._image = image
        self._rule = rule
        self._clicks = clicks
        self._clicked: set[tuple[float, float]] = set()

    def refine(self, name: Name, truth: Truth) -> Refinement:
        """Click until the number of clicks is reached, or the rule has no click left."""
        mask = shown = np.zeros(truth.pixels.shape, bool)
        clicks: list[Click] = []
        ious: list[float] = []
        click_seconds: list[float | None] = []
        prepare_seconds = None
        while len(ious) < self._clicks and (click := next_click(self._rule, mask, truth, clicks)) is not None:
            clicks.append(click)
            answer = self._segment(self._image, clicks)
            mask = answer.mask
            if not ious or is_failure(ious, SHOWN_PERCENT):
                shown = mask
            ious.append(measure_iou(mask, truth))
            if not self._clicked:
                prepare_seconds = answer.timings.prepare_seconds
            is_new = (click.x, click.y) not in self._clicked
            click_seconds.append(answer.timings.clicks_seconds if is_new else None)
            self._clicked.add((click.x, click.y))
        ious += ious[-1:] * (self._clicks - len(ious))
        return Refinement(
            *name,
            clicks=tuple(clicks),
            ious=tuple(ious),
            click_seconds=tuple(click_seconds),
            prepare_seconds=prepare_seconds,
            shown_mask=Refinement.encode_mask(shown),
        )
