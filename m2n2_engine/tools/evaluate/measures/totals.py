"""The invariants of many refinements, as counts and shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from m2n2_engine.tools.evaluate.measures.invariants import sum_counts
from m2n2_engine.tools.evaluate.options import Options
from m2n2_engine.tools.evaluate.refinement import Refinement

FLIP_SPREAD = 0.3
"""Where two pixels more or less change the IoU by more than this, the answer is chance. Here."""

OF_CLICKS = ("negative_adds", "positive_removes", "sign_broken", "loses", "changed_far")
"""The invariants that are counted by click."""


def is_flip(refinement: Refinement) -> bool:
    """Whether moving the first click or the box makes another object of it."""
    ious = (refinement.ious[0], *refinement.moved_ious)
    return max(ious) - min(ious) > FLIP_SPREAD


def total_invariants(refinements: Sequence[Refinement], options: Options) -> dict[str, Any]:
    """Counts over all flips, as values of JSON.

    Each of ``OF_CLICKS`` is a count and its share of the clicks; ``outside_box``, of box runs, of the masks; ``flips``,
    with jitter, of the refinements. ``specks`` are means of a mask. ``total`` is the sum of all counts.
    """
    sums = sum_counts(found.invariants for found in refinements)
    counts = dataclasses.asdict(sums)
    figures: dict[str, Any] = {name: _count(counts[name], sums.clicks) for name in OF_CLICKS}
    figures["changed_far"] |= {"right_pixels": sums.far_right_pixels, "wrong_pixels": sums.far_wrong_pixels}
    if options.box is not None:
        figures["outside_box"] = {**_count(sums.outside_box, sums.masks), "pixels": sums.outside_box_pixels}
    if options.jitter:
        figures["flips"] = _count(sum(map(is_flip, refinements)), len(refinements))
    return {
        "clicks": sums.clicks,
        "masks": sums.masks,
        **figures,
        "specks": {"pieces": sums.small_pieces / sums.masks, "holes": sums.small_holes / sums.masks},
        "total": sum(figure["count"] for figure in figures.values()),
    }


def _count(count: int, of: int) -> dict[str, float]:
    """share: 0 where there is nothing to count."""
    return {"count": count, "share": count / of if of else 0.0}
