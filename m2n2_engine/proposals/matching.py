"""The cells of a picture against those of the examples: how likely each lies in an object like theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from m2n2_engine.types import Map, Mask

_NEIGHBOURS = 3
"""Most alike cells of the examples that decide on a cell. Here."""

_TEMPERATURE = 0.05
"""Of the weights of those, in units of the cosine. Here."""


@dataclasses.dataclass(frozen=True)
class ExampleCells:
    """Cells of one example. features: ``(n, d)``, each of length 1. inside: share of each cell in the object ``(n,)``,
    0 to 1."""

    features: torch.Tensor
    inside: torch.Tensor


def share_cells(mask: Mask, grid: tuple[int, int]) -> torch.Tensor:
    """The share ``(n,)`` of each cell of a grid ``(h, w)`` that lies in a mask ``(H, W)``."""
    shares = cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(shares, np.float32).reshape(-1))


def match_cells(features: torch.Tensor, examples: Sequence[ExampleCells], grid: tuple[int, int]) -> Map:
    """How likely each cell is one of an object like those of the examples, ``(h, w)``, 0 to 1.

    features: ``(n, d)`` of the picture's cells. examples: of one label.
    """
    known = torch.cat([example.features for example in examples])
    inside = torch.cat([example.inside for example in examples])
    likeness, nearest = (features @ known.T).topk(min(_NEIGHBOURS, len(known)), dim=1)
    weights = torch.softmax(likeness / _TEMPERATURE, dim=1)
    chance = (weights * inside[nearest]).sum(dim=1)
    return np.asarray(chance.reshape(grid).cpu().numpy(), np.float32)
