"""The simulated annotator at work on one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from m2n2_engine.tools.evaluate.measures.metrics import measure_iou
from m2n2_engine.tools.evaluate.options import Options
from m2n2_engine.tools.evaluate.refinement import Name, Refinement
from m2n2_engine.tools.evaluate.simulation.boxes import draw_box
from m2n2_engine.tools.evaluate.simulation.clicks import choose_place, next_click
from m2n2_engine.tools.evaluate.simulation.jitter import move_box, move_click
from m2n2_engine.tools.evaluate.simulation.recorder import Recorder
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Box, Click, Image, Segmentation

Segment = Callable[[Image, Sequence[Click], Box | None], Segmentation]
"""``ClickSegmenter.segment``."""


class Annotator:
    """Refines the objects of one image, one after the other."""

    def __init__(self, segment: Segment, image: Image, options: Options) -> None:
        """image: RGB uint8 (H, W, 3)."""
        self._segment = segment
        self._image = image
        self._options = options
        self._asked: set[object] = set()

    def refine(self, name: Name, truth: Truth) -> Refinement:
        """Draw the box where one is wanted, then click until the number of clicks is reached, or the rule has no click
        left."""
        options = self._options
        box = None if options.box is None else draw_box(options.box, truth.pixels)
        place = choose_place(options, name)
        recorder = Recorder(truth, box)
        clicks: list[Click] = []
        if box is not None:
            self._answer(recorder, clicks, box)
        while len(clicks) < options.clicks:
            click = next_click(options.rule, recorder.mask, truth, clicks, place)
            if click is None:
                break
            clicks.append(click)
            self._answer(recorder, clicks, box)
        moved_ious = self._move_first(truth, clicks, box) if options.jitter else ()
        return recorder.finish(name, options.clicks, moved_ious)

    def _answer(self, recorder: Recorder, clicks: Sequence[Click], box: Box | None) -> None:
        is_prepared = bool(self._asked)
        answer = self._segment(self._image, tuple(clicks), box)
        is_new = self._remember(clicks, box)
        timings = answer.timings
        recorder.add(answer.mask, tuple(clicks), timings.clicks_seconds if is_new else None)
        if not is_prepared:
            recorder.prepare_seconds = timings.prepare_seconds

    def _remember(self, clicks: Sequence[Click], box: Box | None) -> bool:
        """Whether what came last, a click's pixel or a box, was not given on this image before."""
        last = (clicks[-1].x, clicks[-1].y) if clicks else box
        is_new = last not in self._asked
        self._asked.add(last)
        return is_new

    def _move_first(self, truth: Truth, clicks: Sequence[Click], box: Box | None) -> tuple[float, ...]:
        """The IoU after each moved first click, or moved box."""
        height, width = truth.pixels.shape
        prompts: list[tuple[list[Click], Box | None]]
        if box is not None:
            prompts = [([], moved) for moved in move_box(box, width, height)]
        else:
            prompts = [([moved], None) for moved in move_click(clicks[0], truth.pixels)]
        ious = []
        for moved_clicks, moved_box in prompts:
            answer = self._segment(self._image, moved_clicks, moved_box)
            self._remember(moved_clicks, moved_box)
            ious.append(measure_iou(answer.mask, truth))
        return tuple(ious)
