"""Steps 6 and 7: one threshold for each click's Markov-map, and the merge of all clicks into a mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m2n2_engine.config import MethodConfig
from m2n2_engine.types import Map, Mask

SMALLEST_THRESHOLD = 1e-7
"""A map is divided by at least this. Paper."""


@dataclasses.dataclass(frozen=True)
class RankedMap:
    """A click's Markov-map with all of step 6 that depends on no other click.

    values: (H, W) float32, 0 at the click to 1. pixel: (x, y) of the click. thresholds: (ranks,) the map's values in
    ascending order, as far as the prior lets a segment grow. edges: (ranks,) mean Sobel magnitude, 0 to
    ``edge_levels``, over the border of the segment that ends at that rank.
    """

    values: Map
    pixel: tuple[int, int]
    thresholds: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.values.nbytes + self.thresholds.nbytes + self.edges.nbytes


@dataclasses.dataclass(frozen=True, slots=True)
class ClickSegment:
    """Where a click's segment ends. threshold: map value, 0 to 1. score: 0 to 1, the score of the best rank as a
    share of ``edge_levels``."""

    threshold: float
    score: float


def decide_jointly(maps: Sequence[RankedMap], signs: Sequence[bool], method: MethodConfig) -> tuple[Mask, float]:
    """Steps 6 and 7: all clicks of a prompt at once; their order only breaks ties.

    Args:
        maps: of each click, in their order.
        signs: True where the click is positive.
        method: its number of edge levels.

    Returns:
        The mask bool ``(H, W)``, and the mean score of the positive clicks, 0 to 1; 0 where there are none.
    """
    segments = choose_thresholds(maps, signs, method)
    scores = [segment.score for segment, sign in zip(segments, signs, strict=True) if sign]
    return merge_clicks(maps, segments, signs), sum(scores) / len(scores) if scores else 0.0


def choose_thresholds(maps: Sequence[RankedMap], signs: Sequence[bool], method: MethodConfig) -> list[ClickSegment]:
    """The best rank of each click, given all clicks of the prompt. signs: True where the click is positive."""
    segments = []
    for ranked, sign in zip(maps, signs, strict=True):
        at_clicks = np.array([ranked.values[y, x] for x, y in (other.pixel for other in maps)])
        same = np.array([other == sign for other in signs])
        scores = score_ranks(ranked, at_clicks[same], at_clicks[~same])
        best = int(scores.argmax()) if len(scores) else 0
        score = float(scores[best]) / method.edge_levels if len(scores) else 0.0
        segments.append(ClickSegment(float(ranked.thresholds[best]), min(score, 1.0)))
    return segments


def score_ranks(
    ranked: RankedMap, same_sign: npt.NDArray[np.float32], other_sign: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Score of every rank that the prior allows, 0 to ``edge_levels``; all further ranks score 0.

    same_sign, other_sign: the map's values at the clicks of this click's sign (itself included) and of the other.
    """
    thresholds = ranked.thresholds[: len(ranked.edges)]
    # Thresholds ascend, so both factors are steps: the share of same-sign clicks rises at each click's value, and
    # everything from the first other-sign click on, or from the map's maximum on, is 0.
    limit = min(other_sign.min(initial=np.inf), ranked.values.max())
    allowed = int(np.searchsorted(thresholds, limit, side="left"))
    scores = np.zeros(len(thresholds), np.float32)
    included = np.searchsorted(np.sort(same_sign), thresholds[:allowed], side="right")
    scores[:allowed] = ranked.edges[:allowed] * (included / len(same_sign))
    return scores


def merge_clicks(maps: Sequence[RankedMap], segments: Sequence[ClickSegment], signs: Sequence[bool]) -> Mask:
    """The nearest click wins every pixel. Returns bool ``(H, W)``; every clicked pixel has its own click's sign."""
    nearest = np.full(maps[0].values.shape, np.inf, np.float32)
    mask = np.zeros(nearest.shape, bool)
    for ranked, segment, sign in zip(maps, segments, signs, strict=True):
        distance = ranked.values / np.float32(max(segment.threshold, SMALLEST_THRESHOLD))
        closer = distance < nearest  # on a tie the earlier click keeps the pixel
        np.copyto(nearest, distance, where=closer)
        np.copyto(mask, (distance <= 1) & sign, where=closer)
    for ranked, sign in zip(maps, signs, strict=True):
        x, y = ranked.pixel
        mask[y, x] = sign
    return mask


def count_ranks(pixels: int, area_limit: float) -> int:
    """How many ranks ``k`` of the ``pixels - 1`` scored ones satisfy ``k / (pixels - 2) < area_limit``."""
    if pixels <= 2:
        return pixels - 1  # one rank or none, and no share to speak of
    count = min(int(area_limit * (pixels - 2)), pixels - 1)
    while count < pixels - 1 and count / (pixels - 2) < area_limit:
        count += 1
    return count
