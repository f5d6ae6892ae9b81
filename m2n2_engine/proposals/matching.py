"""The cells of a picture against those of the examples: which lie in an object like theirs.

Two judges are added up. The one asks which cells of the examples a cell resembles most: those of an object or those
around it. The other is a linear one: the ridge regression of "object or not" on the examples' cells. The first keeps
apart what differs in small things, the second knows what objects have in common, wherever in a picture they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from m2n2_engine.proposals.features import CellFeatures
from m2n2_engine.types import Map, Mask

_NEIGHBOURS = 3
"""Most alike cells on each side, whose likeness is averaged. Here: 1 and 10 are no better on DAVIS67."""

_RIDGE = 1e-3
"""Of the regression, beside vectors of length 1. Here: 3e-4 to 3e-3 differ by less than 0.01 of IoU on DAVIS67."""

_OBJECT_WEIGHT = 0.35
"""Of all cells in objects, where those of the background have the rest. Here: an even share claims too much background,
0.04 of IoU on DAVIS67."""

_INSIDE, _OUTSIDE = 0.5, 0.1
"""Share of a cell in the mask above which it is the object's, and below which it is none's. Here."""

_LEAST_SPREAD = 1e-6
"""Standard deviation that a judge's answers are divided by at least: a picture of one colour has none. Here."""


@dataclasses.dataclass(frozen=True)
class KnownCells:
    """Cells of some examples. vectors: ``(n, d)``, each of length 1. inside: share of each in an object, ``(n,)``, 0
    to 1. objects: how many examples they are of."""

    vectors: torch.Tensor
    inside: torch.Tensor
    objects: int


@dataclasses.dataclass(frozen=True)
class Match:
    """What the examples say of each cell of a picture.

    level: above 0 for an object like theirs, ``(h, w)``; of both judges, each in its own standard deviations over the
    picture. linear: the answer of the regression alone, ``(h, w)``, about 1 in an object as the examples' and -1 in
    their background. vectors: of the picture's cells without what all cells have in common, ``(n, d)``. kind: the same
    of the objects of the examples in the mean, ``(d,)``.
    """

    level: Map
    linear: Map
    vectors: torch.Tensor
    kind: torch.Tensor

    def compare_kind(self, inside: torch.Tensor) -> float:
        """Cosine between the mean of some cells and that of the examples' objects. inside: share of each, ``(n,)``."""
        own = inside @ self.vectors
        return float(torch.nn.functional.cosine_similarity(own, self.kind, dim=0))


def learn_cells(pictures: Sequence[tuple[CellFeatures, Mask]]) -> KnownCells:
    """What is known of some pictures. Each comes with the mask ``(H, W)`` of all objects of one label in it."""
    shares = [share_cells(mask, features.grid) for features, mask in pictures]
    return KnownCells(torch.cat([features.vectors for features, _ in pictures]), torch.cat(shares), len(pictures))


def share_cells(mask: Mask, grid: tuple[int, int]) -> torch.Tensor:
    """The share ``(n,)`` of each cell of a grid ``(h, w)`` that lies in a mask ``(H, W)``."""
    shares = cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(shares, np.float32).reshape(-1))


def match_cells(cells: CellFeatures, known: KnownCells) -> Match | None:
    """The cells of a picture as the examples see them; None where these have no object or no background to learn by."""
    inside = known.inside > min(_INSIDE, float(known.inside.max()) / 2)
    outside = known.inside < _OUTSIDE
    if not inside.any() or not outside.any():
        return None
    likeness = cells.vectors @ known.vectors.T
    alike, unlike = (_average_best(likeness[:, side]) for side in (inside, outside))
    linear = _regress(known, cells.vectors)
    level = _scale(alike - unlike) + _scale(linear)
    common = torch.cat([known.vectors, cells.vectors]).mean(dim=0)
    kind = known.inside @ (known.vectors - common)
    return Match(_to_map(level, cells.grid), _to_map(linear, cells.grid), cells.vectors - common, kind)


def _average_best(likeness: torch.Tensor) -> torch.Tensor:
    """Mean of the largest values of each row."""
    return likeness.topk(min(_NEIGHBOURS, likeness.shape[1]), dim=1).values.mean(dim=1)


def _regress(known: KnownCells, vectors: torch.Tensor) -> torch.Tensor:
    """The linear judge's answer to each of some vectors ``(m, d)``. A cell that is partly in the object counts as both
    an object's and a background's, by its share."""
    own = known.inside / known.inside.sum() * _OBJECT_WEIGHT
    other = (1 - known.inside) / (1 - known.inside).sum() * (1 - _OBJECT_WEIGHT)
    weights = (own + other)[:, None]
    answers = (own - other)[:, None] / weights
    middle, mean = (weights * known.vectors).sum(dim=0), (weights * answers).sum()
    centred = known.vectors - middle
    spread = centred.T @ (centred * weights) + _RIDGE * torch.eye(len(middle))
    slope = torch.linalg.solve(spread, centred.T @ (weights * (answers - mean)))
    found: torch.Tensor = ((vectors - middle) @ slope)[:, 0] + mean
    return found


def _scale(values: torch.Tensor) -> torch.Tensor:
    return values / values.std().clamp_min(_LEAST_SPREAD)


def _to_map(values: torch.Tensor, grid: tuple[int, int]) -> Map:
    return np.asarray(values.reshape(grid).numpy(), np.float32)
