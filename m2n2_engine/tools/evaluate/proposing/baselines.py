"""Two simple ways from examples to the mask of a label in another picture, which proposals are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from m2n2_engine.proposals.features import CellFeatures
from m2n2_engine.proposals.matching import learn_cells
from m2n2_engine.types import Mask

_NEAREST = 3
_TEMPERATURE = 0.1
"""Cells that decide, and of the weights of those in units of the cosine. Here: none is better on DAVIS67."""

_HALF = 0.5


def propagate_labels(cells: CellFeatures, pictures: Sequence[tuple[CellFeatures, Mask]], size: tuple[int, int]) -> Mask:
    """Each cell gets the label of its nearest cells in the examples; bilinear to ``(H, W)`` pixels.

    pictures: of the examples, each with the mask of all objects of the label in it.
    """
    known = learn_cells(pictures)
    likeness, nearest = (cells.vectors @ known.vectors.T).topk(min(_NEAREST, len(known.vectors)), dim=1)
    shares = (torch.softmax(likeness / _TEMPERATURE, dim=1) * known.inside[nearest]).sum(dim=1)
    return _enlarge(shares.reshape(cells.grid).numpy(), size)


def copy_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask of an example at another picture's ``(H, W)``."""
    return _enlarge(mask, size)


def _enlarge(shares: object, size: tuple[int, int]) -> Mask:
    enlarged: Mask = cv2.resize(np.asarray(shares, np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > _HALF
    return enlarged
