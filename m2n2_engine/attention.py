"""Attention that a caller brings: an array of any kind -> the tensor that the steps of the method take."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.errors import InvalidInput
from m2n2_engine.types import Image

_SHORTEST_SIDE = 2
"""Cells. Here: a grid of one cell a side has no neighbours to walk to."""


class AnyAggregator(Protocol):
    """Anything that turns an image into attention."""

    def extract_attention(self, image: Image) -> torch.Tensor | npt.NDArray[Any]:
        """Attention ``(h, w, h, w)`` of an RGB uint8 ``(H, W, 3)`` image, of any floating point type; the last two axes
        sum to 1."""


def read_attention(given: object) -> torch.Tensor:
    """Attention, or a transition matrix, as float32 ``(h, w, h, w)`` on its own device; perhaps in the same memory.

    given: a tensor or array of floating point numbers, of at least 2 x 2 cells. Raises InvalidInput for all else.
    """
    tensor = given.detach() if isinstance(given, torch.Tensor) else _from_array(given)
    shape = tuple(tensor.shape)
    if tensor.ndim != 4 or shape[:2] != shape[2:]:
        raise InvalidInput(f"the attention must have the shape (h, w, h, w), not {shape}")
    if min(shape) < _SHORTEST_SIDE:
        raise InvalidInput(f"the attention needs at least 2 x 2 cells, not the shape {shape}")
    if not tensor.is_floating_point():
        raise InvalidInput(f"the attention must be of floating point numbers, not {_name(tensor)}: convert it")
    return tensor.to(torch.float32)


def copy_attention(given: object) -> torch.Tensor:
    """The same in memory of its own. Raises InvalidInput also where a number is negative or not finite, or all that a
    cell attends to is 0."""
    attention = read_attention(given)
    # One pass over each row: a sum is not finite where one of its numbers is not.
    sums = attention.sum(dim=(2, 3))
    if not bool(torch.isfinite(sums).all()) or bool((attention.amin(dim=(2, 3)) < 0).any()):
        raise InvalidInput("the attention has numbers that are negative or not finite: give the softmax, not its input")
    if bool((sums <= 0).any()):
        row, column = (int(at) for at in (sums <= 0).nonzero()[0])
        raise InvalidInput(
            f"the cell ({row}, {column}) attends to nothing: each [row, column] of the attention sums to 1"
        )
    is_shared = isinstance(given, torch.Tensor) and attention.data_ptr() == given.data_ptr()
    return attention.clone() if is_shared else attention


def _from_array(given: object) -> torch.Tensor:
    try:
        array = np.asarray(given)
        if array.dtype.kind == "f":
            # A copy: arrays may be read-only, of another byte order, or of more bits than torch has.
            array = np.array(array, np.float32)
        return torch.from_numpy(array)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"the attention must be a tensor or an array (h, w, h, w), not {type(given).__name__}"
        ) from None


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
