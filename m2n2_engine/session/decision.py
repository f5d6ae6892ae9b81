"""How the Markov-maps of all clicks of a prompt become one mask: one class for each of ``config.Decision``."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cuda import thresholds
from m2n2_engine.kernels.cuda.thresholds import DeviceRankedMap
from m2n2_engine.method.colour_cut import Mark, settle_border
from m2n2_engine.method.correction import EdgeMap, find_correction, find_edges
from m2n2_engine.method.thresholds import RankedMap, choose_thresholds, merge_clicks
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

    def measure(self, values: Any, pixel: tuple[int, int]) -> ClickMapT:
        """What a click's Markov-map ``(H, W)``, 0..1, says by itself. pixel: (x, y) of the click. values: an array,
        or a tensor where the maps are on a device."""

    def decide(self, clicks: Sequence[Click], maps: Sequence[ClickMapT]) -> tuple[Mask, float]:
        """The mask bool ``(H, W)`` and its score, 0 to 1. clicks: in the order they were made; maps: of each click."""


def build_decider(image: Image, cell_pixels: float, method: MethodConfig, *, on_device: bool = False) -> Decider[Any]:
    """The decider that ``method`` asks for. image: RGB uint8 ``(H, W, 3)`` at working size. cell_pixels: longer
    side of a grid cell in it. on_device: maps are tensors, for a joint decision."""
    if method.decision is Decision.JOINT:
        return DeviceJointDecider(method) if on_device else JointDecider(method)
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


class DeviceJointDecider:
    """The same, of maps on a device: of each prompt one mask comes from there."""

    nbytes = 0

    def __init__(self, method: MethodConfig) -> None:
        self._method = method

    def measure(self, values: torch.Tensor, pixel: tuple[int, int]) -> DeviceRankedMap:
        """Ranks and their edges."""
        return thresholds.rank_map(values, pixel, self._method)

    def decide(self, clicks: Sequence[Click], maps: Sequence[DeviceRankedMap]) -> tuple[Mask, float]:
        """All clicks at once; their order only breaks ties."""
        signs = [click.positive for click in clicks]
        segments = thresholds.choose_thresholds(maps, signs, self._method)
        mask = thresholds.merge_clicks(maps, segments, signs).cpu().numpy()
        scores = torch.stack([segment.score for segment in segments]).tolist()
        return mask, _mean([score for score, sign in zip(scores, signs, strict=True) if sign])


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """The mask after some clicks, the score of the last one's correction, and what colours must leave alone."""

    mask: Mask
    score: float = 0.0
    marks: tuple[Mark, ...] = ()


class StepwiseDecider:
    """Each click corrects the mask of the clicks before it; a click that agrees with that mask changes nothing."""

    def __init__(self, image: Image, cell_pixels: float, method: MethodConfig) -> None:
        self._image = image.copy()  # the caller's own array may change later
        self._band_pixels = method.colour_band_cells * cell_pixels
        self._method = method
        self._steps: collections.OrderedDict[tuple[Click, ...], _Step] = collections.OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory of image and earlier masks, in bytes."""
        # Counted, not added up: it is asked for while another thread decides. A mask takes a byte a pixel.
        return self._image.nbytes + len(self._steps) * self._image[:, :, 0].size

    def measure(self, values: Map, pixel: tuple[int, int]) -> EdgeMap:
        """Its edges."""
        return find_edges(values, pixel, self._method)

    def decide(self, clicks: Sequence[Click], maps: Sequence[EdgeMap]) -> tuple[Mask, float]:
        """One click after the other; the steps of the last few objects are kept. The score is the mean over the
        positive clicks that changed anything."""
        step = _Step(np.zeros(self._image.shape[:2], bool))
        scores: list[float] = []
        for count in range(1, len(clicks) + 1):
            step = self._find_step(tuple(clicks[:count]), maps[:count], step)
            if clicks[count - 1].positive and step.score > 0:
                scores.append(step.score)
        return step.mask.copy(), _mean(scores)

    def _find_step(self, clicks: tuple[Click, ...], maps: Sequence[EdgeMap], before: _Step) -> _Step:
        if clicks not in self._steps:
            self._steps[clicks] = self._correct(clicks, maps, before)
        self._steps.move_to_end(clicks)
        step = self._steps[clicks]
        while len(self._steps) > _KEPT_STEPS:
            self._steps.popitem(last=False)
        return step

    def _correct(self, clicks: Sequence[Click], maps: Sequence[EdgeMap], before: _Step) -> _Step:
        """What follows from the last click."""
        click, click_map = clicks[-1], maps[-1]
        x, y = click_map.pixel
        if before.mask[y, x] == click.positive:
            return _Step(before.mask, 0.0, (*before.marks, Mark((x, y), 0, click.positive)))
        others = [
            click_map.values[other.pixel[::-1]]
            for made, other in zip(clicks, maps, strict=True)
            if made.positive != click.positive
        ]
        limit = float(min(others, default=np.inf))
        correction = find_correction(click_map, before.mask, click.positive, limit, self._method)
        radius = max(int(self._method.colour_mark_share * correction.depth), self._method.colour_mark_pixels)
        marks = (*before.marks, Mark((x, y), radius, click.positive))
        corrected = np.where(correction.region, click.positive, before.mask)
        return _Step(self._settle(corrected, marks), correction.score, marks)

    def _settle(self, mask: Mask, marks: Sequence[Mark]) -> Mask:
        if self._band_pixels:
            mask = settle_border(mask, self._image, marks, self._band_pixels, self._method.colour_rounds)
        for mark in marks:
            x, y = mark.pixel
            mask[y, x] = mark.positive
        return mask


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
