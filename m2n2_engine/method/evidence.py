"""How likely a candidate is what a click or a box means, and the vote of all candidates.

Each piece of evidence is a number for each candidate; weights add them to a score. A candidate votes for all of its
pixels with ``exp(score)``, and a pixel with the majority of all votes is in. So two maps that disagree about a size
agree about what they share, and no single threshold decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m2n2_engine.config import BoxEvidence, ClickEvidence
from m2n2_engine.method.candidates import Candidates, Values, measure_overlaps
from m2n2_engine.method.edge_map import EdgeMap
from m2n2_engine.method.scene import Appearance
from m2n2_engine.method.shapes import measure_depths
from m2n2_engine.types import Map, Mask

_EDGE_FLOOR = 0.01
"""Added to the edge of a map, 0 to 1, before its logarithm is taken. Here."""

_IMAGE_EDGE_FLOOR = 0.1
"""The same for the image's, 1 in the mean over the image. Here."""

_SHARE_FLOOR = 0.01
"""The same for shares of depths. Here."""

_FIT_FLOOR = 0.02
"""The same for the IoU of boxes. Here."""

_SIDE_TOLERANCE = 0.08
"""A region reaches a side of a box that it comes this near to, as a share of the box's width or height. Here."""

_LEAST_TOLERANCE_PIXELS = 1.5
"""The same, at least. Here."""

_TEMPER = 2.0
"""Scores are divided by this where other sizes than the voted one are looked for: the vote is too sure of itself. Of 1
to 12 the best with first clicks on COCO64 and ECSSD. Here."""

_SAME_REGION = 0.6
"""IoU from which on two sizes are one to whoever looks at them. Here, as above."""


@dataclasses.dataclass(frozen=True)
class Side:
    """Log odds (H, W) that a pixel is on the side that is looked for, by its colour and by its cell."""

    colours: Map
    cells: Map


@dataclasses.dataclass(frozen=True)
class Situation:
    """What a click finds. side: log odds for its sign. rim: (H, W), the pixels that could change and touch what could
    not. mask_pixels: of the mask, 0 where there is none yet. clicks: how many were made before."""

    side: Side
    rim: Mask
    mask_pixels: int = 0
    clicks: int = 0


@dataclasses.dataclass(frozen=True)
class Ballot:
    """Candidates of one map and the score of each. edges: (count,), mean edge of the map along each border, 0 to 1."""

    candidates: Candidates
    scores: Values
    edges: Values


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A box in pixels of the working size. left, top, right, bottom: as of ``types.Box``. inside: (H, W). rim: (H, W),
    its outermost pixels."""

    left: float
    top: float
    right: float
    bottom: float
    inside: Mask
    rim: Mask


def score_click(
    edge_map: EdgeMap,
    candidates: Candidates,
    appearance: Appearance,
    found: Situation,
    weights: ClickEvidence,
    edge_levels: int,
    *,
    is_walk: bool,
) -> Ballot:
    """The scores of the candidates of one click or stroke.

    Args:
        edge_map: that the candidates are cut from.
        candidates: of it.
        appearance: of the image.
        found: by the click.
        weights: of the evidence.
        edge_levels: level of the map's strongest edge.
        is_walk: whether the map is of the walk over regions.
    """
    edges, image_edges = _measure_edges(edge_map, candidates, appearance, edge_levels)
    depth, deepest = candidates.measure_depths(edge_map.pixels)
    x, y = np.transpose(edge_map.pixels)
    free_depth = float(measure_depths(candidates.open)[y, x].max())
    shared = candidates.sum_over(found.rim)
    settled = np.log(max(found.clicks, 1))
    scores = (
        weights.edge * np.log(edges + _EDGE_FLOOR)
        + weights.image_edge * np.log(image_edges + _IMAGE_EDGE_FLOOR)
        + weights.centring * np.log(depth / deepest + _SHARE_FLOOR)
        + weights.depth * np.log(depth / free_depth + _SHARE_FLOOR)
        + weights.shared * shared / np.maximum(shared + candidates.borders, 1)
        + weights.size * settled * np.log(candidates.areas / max(found.mask_pixels, 1))
        + weights.colours * candidates.mean_over(found.side.colours)
        + weights.likeness * candidates.mean_over(found.side.cells)
        + weights.walk * is_walk
    )
    return Ballot(candidates, scores, edges)


def score_box(
    edge_map: EdgeMap,
    candidates: Candidates,
    appearance: Appearance,
    side: Side,
    weights: BoxEvidence,
    edge_levels: int,
    frame: Frame,
) -> Ballot:
    """The scores of the candidates of one place in a box. side: log odds for the box's inside; others as for a
    click."""
    edges, image_edges = _measure_edges(edge_map, candidates, appearance, edge_levels)
    inside = np.maximum(candidates.sum_over(frame.inside), 1)
    fit, sides = _compare_boxes(candidates, frame)
    scores = (
        weights.edge * np.log(edges + _EDGE_FLOOR)
        + weights.image_edge * np.log(image_edges + _IMAGE_EDGE_FLOOR)
        + weights.fit * np.log(fit + _FIT_FLOOR)
        + weights.leak * (1 - inside / candidates.areas)
        + weights.fill * np.log(inside / frame.inside.sum())
        + weights.colours * candidates.sum_over(side.colours * frame.inside) / inside
        + weights.likeness * candidates.sum_over(side.cells * frame.inside) / inside
        + weights.offset * _measure_offset(candidates, frame, inside)
        + weights.sides * sides
        + weights.frame * candidates.sum_over(frame.rim) / frame.rim.sum()
    )
    return Ballot(candidates, scores, edges)


def count_votes(ballots: Sequence[Ballot]) -> tuple[npt.NDArray[np.float64], float]:
    """Share of all votes that each pixel ``(H, W)`` has, 0 to 1, and the votes' mean edge, 0 to 1."""
    highest = max(float(ballot.scores.max()) for ballot in ballots)
    votes = [np.exp(ballot.scores - highest) for ballot in ballots]
    total = sum(float(each.sum()) for each in votes)
    shares = np.zeros(ballots[0].candidates.ranks.shape)
    for ballot, each in zip(ballots, votes, strict=True):
        # A pixel is in all candidates from its rank on.
        backwards = np.append(each[::-1].cumsum()[::-1], 0.0)
        shares += backwards[ballot.candidates.ranks]
    edge = sum(float((each * ballot.edges).sum()) for ballot, each in zip(ballots, votes, strict=True))
    return shares / total, edge / total


def choose_sizes(ballots: Sequence[Ballot], voted: Mask, most: int) -> list[tuple[Mask, float]]:
    """Regions ``(H, W)`` of other sizes than the voted one, and the mean edge of each, 0 to 1.

    The scores say how likely each candidate is what was meant. The first region is the one that raises most the
    expected IoU of what was meant with the best of the regions so far, of which the voted one is the first. And so on.

    Args:
        ballots: on the same open pixels.
        voted: ``(H, W)``.
        most: at most so many.
    """
    scores = np.concatenate([ballot.scores for ballot in ballots]) / _TEMPER
    chances = np.exp(scores - scores.max())
    overlaps = measure_overlaps([ballot.candidates for ballot in ballots])
    nearest = np.concatenate([_compare(ballot.candidates, voted) for ballot in ballots])
    regions = [(ballot, number) for ballot in ballots for number in range(ballot.candidates.count)]
    chosen: list[tuple[Mask, float]] = []
    while len(chosen) < most and (is_other := nearest < _SAME_REGION).any():
        gains = np.where(is_other, np.maximum(nearest, overlaps) @ chances, -1)
        best = int(gains.argmax())
        nearest = np.maximum(nearest, overlaps[best])
        ballot, number = regions[best]
        chosen.append((ballot.candidates.select(number), float(ballot.edges[number])))
    return chosen


def _compare(candidates: Candidates, mask: Mask) -> Values:
    """IoU of each candidate with a mask ``(H, W)``."""
    shared = candidates.sum_over(mask)
    overlaps: Values = shared / (candidates.areas + mask.sum() - shared)
    return overlaps


def _measure_edges(
    edge_map: EdgeMap, candidates: Candidates, appearance: Appearance, edge_levels: int
) -> tuple[Values, Values]:
    """Mean edge along each border: of the map, 0 to 1, and of the image, 1 in the mean over the image."""
    return (
        candidates.mean_at_border(edge_map.levels) / edge_levels,
        candidates.mean_at_border(appearance.edges) / appearance.mean_edge,
    )


def _compare_boxes(candidates: Candidates, frame: Frame) -> tuple[Values, Values]:
    """IoU of each candidate's bounding box with the box, and the share of the box's sides that it reaches."""
    left, top, right, bottom = candidates.find_extents()
    width, height = frame.right - frame.left, frame.bottom - frame.top
    across = np.clip(np.minimum(right, frame.right) - np.maximum(left, frame.left), 0, None)
    down = np.clip(np.minimum(bottom, frame.bottom) - np.maximum(top, frame.top), 0, None)
    shared = across * down
    fit = shared / ((right - left) * (bottom - top) + width * height - shared)
    near_x, near_y = (max(_SIDE_TOLERANCE * length, _LEAST_TOLERANCE_PIXELS) for length in (width, height))
    reached = (
        (left <= frame.left + near_x).astype(float)
        + (right >= frame.right - near_x)
        + (top <= frame.top + near_y)
        + (bottom >= frame.bottom - near_y)
    )
    return fit, reached / 4


def _measure_offset(candidates: Candidates, frame: Frame, inside: Values) -> Values:
    """Distance of the centre of each candidate's pixels in the box from the box's own, in its sides."""
    y, x = (np.broadcast_to(axis, frame.inside.shape) for axis in np.ogrid[tuple(map(slice, frame.inside.shape))])
    across = candidates.sum_over(x * frame.inside) / inside - (frame.left + frame.right) / 2
    down = candidates.sum_over(y * frame.inside) / inside - (frame.top + frame.bottom) / 2
    return np.hypot(across / (frame.right - frame.left), down / (frame.bottom - frame.top))
