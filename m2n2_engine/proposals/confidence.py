"""How sure a proposal is: what the cells say of a place -> how often such a place becomes the mask of an object.

The weights are of a logistic regression on pairs of pictures of the development data: docs/method/proposals.md.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from m2n2_engine.proposals.matching import Match, share_cells
from m2n2_engine.proposals.objects import Place


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What tells a place that is an object from one that is not.

    level: mean of ``Match.level`` over it. linear: mean of ``Match.linear``. kind: cosine of its cells to the examples'
    objects. area: natural logarithm of its share of the picture.
    """

    level: float
    linear: float
    kind: float
    area: float


_BIAS = -12.07
_WEIGHTS = Evidence(level=0.474, linear=3.30, kind=8.84, area=-0.144)
"""Here: fitted to 1403 places of 643 pairs of COCO64's pictures and to 27 of DAVIS67, docs/results/proposals.md."""

LEAST_SCORE = 0.1
"""Score below which a place is no proposal where nobody asks for less: its object is not worth the time. Here: of pairs
of pictures without a like object, 13 % still have such a place; who shows proposals unasked takes a higher one."""


def weigh_place(place: Place, match: Match) -> Evidence:
    """The evidence for a place."""
    inside = share_cells(place.mask, (match.level.shape[0], match.level.shape[1]))
    shares = inside / inside.sum()
    level, linear = (float((shares.numpy() * values.ravel()).sum()) for values in (match.level, match.linear))
    return Evidence(level, linear, match.compare_kind(inside), math.log(float(place.mask.mean())))


def score_place(evidence: Evidence) -> float:
    """How likely the mask of a place with this evidence overlaps an object of the label by half or more, 0 to 1."""
    values, weights = dataclasses.astuple(evidence), dataclasses.astuple(_WEIGHTS)
    return float(1 / (1 + np.exp(-_BIAS - np.dot(values, weights))))
