"""How the Markov-maps of all clicks of a prompt become one mask: one class for each of ``config.Decision``."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.ops.colour_cut import MarkedPixel, settle_border
from m2n2_engine.ops.correction import EdgeMap, find_correction, find_edges
from m2n2_engine.ops.segment import RankedMap, choose_thresholds, merge_clicks, rank_map
from m2n2_engine.types import Click, Image, Map, Mask

_KEPT_STEPS = 64
"""Masks of earlier steps that are kept: those of a few objects that are worked on in turn."""


class ClickMap(Protocol):
    """What is kept of one click, whatever the other clicks are."""

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""


ClickMapT = TypeVar("ClickMapT", bound=ClickMap)


class Decider(Protocol[ClickMapT]):
    """Decides on the mask of one image's prompts; not safe under threads but for ``measure``."""

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""

    def measure(self, values: Map, pixel: tuple[int, int]) -> ClickMapT:
        """What a click's Markov-map ``(H, W)``, 0..1, says by itself. pixel: (x, y) of the click."""

    def decide(self, clicks: Sequence[Click], maps: Sequence[ClickMapT]) -> tuple[Mask, float]:
        """The mask bool ``(H, W)`` and its score, 0 to 1. clicks: in the order they were made; maps: of each click."""


def build_decider(image: Image, cell_pixels: float, method: MethodConfig) -> Decider[Any]:
    """The decider that ``method`` asks for. image: RGB uint8 ``(H, W, 3)`` at working size. cell_pixels: longer
    side of a grid cell in it."""
    if method.decision is Decision.JOINT:
        return JointDecider(method)
    return StepwiseDecider(image, cell_pixels, method)


class JointDecider:
    """Steps 6 and 7 of the paper."""

    nbytes = 0

    def __init__(self, method: MethodConfig) -> None:
        self._method = method

    def measure(self, values: Map, pixel: tuple[int, int]) -> RankedMap:
        """Ranks and their edges."""
        return rank_map(values, pixel, self._method)

    def decide(self, clicks: Sequence[Click], maps: Sequence[RankedMap]) -> tuple[Mask, float]:
        """All clicks at once; their order only breaks ties."""
        signs = [click.positive for click in clicks]
        segments = choose_thresholds(maps, signs, self._method)
        scores = [segment.score for segment, sign in zip(segments, signs, strict=True) if sign]
        return merge_clicks(maps, segments, signs), _mean(scores)


class StepwiseDecider:
    """Each click corrects the mask of the clicks before it; a click that agrees with that mask changes nothing."""

    def __init__(self, image: Image, cell_pixels: float, method: MethodConfig) -> None:
        self._image = image.copy()  # the caller's own array may change later
        self._band_pixels = method.colour_band_cells * cell_pixels
        self._method = method
        self._steps: collections.OrderedDict[tuple[Click, ...], tuple[Mask, float]] = collections.OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory of image and earlier masks, in bytes."""
        return self._image.nbytes + sum(mask.nbytes for mask, _ in list(self._steps.values()))

    def measure(self, values: Map, pixel: tuple[int, int]) -> EdgeMap:
        """Its edges."""
        return find_edges(values, pixel, self._method)

    def decide(self, clicks: Sequence[Click], maps: Sequence[EdgeMap]) -> tuple[Mask, float]:
        """One click after the other, from the longest row of clicks whose mask is known. The score is the mean over the
        positive clicks that changed anything."""
        mask = np.zeros(self._image.shape[:2], bool)
        scores: list[float] = []
        for count in range(1, len(clicks) + 1):
            mask, score = self._find_step(tuple(clicks[:count]), maps[:count], mask)
            if clicks[count - 1].positive and score > 0:
                scores.append(score)
        return mask.copy(), _mean(scores)

    def _find_step(self, clicks: tuple[Click, ...], maps: Sequence[EdgeMap], before: Mask) -> tuple[Mask, float]:
        if clicks not in self._steps:
            self._steps[clicks] = self._correct(clicks, maps, before)
        self._steps.move_to_end(clicks)
        step = self._steps[clicks]
        while len(self._steps) > _KEPT_STEPS:
            self._steps.popitem(last=False)
        return step

    def _correct(self, clicks: Sequence[Click], maps: Sequence[EdgeMap], before: Mask) -> tuple[Mask, float]:
        """The mask after the last click, and the score of its correction."""
        click, click_map = clicks[-1], maps[-1]
        x, y = click_map.pixel
        if before[y, x] == click.positive:
            return before, 0.0
        pixels = [(kept.pixel, made.positive) for made, kept in zip(clicks, maps, strict=True)]
        others = [click_map.values[row, column] for (column, row), sign in pixels if sign != click.positive]
        limit = float(min(others, default=np.inf))
        correction = find_correction(click_map, before, click.positive, limit, self._method)
        mask = np.where(correction.region, click.positive, before)
        if self._band_pixels:
            mask = self._settle_border(mask, pixels)
        for (column, row), sign in pixels:
            mask[row, column] = sign
        return mask, correction.score

    def _settle_border(self, mask: Mask, pixels: Sequence[MarkedPixel]) -> Mask:
        method = self._method
        return settle_border(
            mask, self._image, pixels, self._band_pixels, method.colour_mark_pixels, method.colour_rounds
        )


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
