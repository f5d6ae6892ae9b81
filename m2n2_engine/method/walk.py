"""Step 3: clicks -> coarse Markov-maps: when a random walk from the click reaches each cell.

A step of a walk reads the whole matrix once, at the speed of the memory, so on a processor this plain form is also the
fast one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.types import Map

SLOPE_FLOOR = 1e-6
"""Added to a cell's last rise before dividing by it. Paper."""


def build_start_state(point: tuple[float, float], image_size: tuple[int, int], grid: tuple[int, int]) -> Map:
    """The chain's start for a click: largest value 1.

    The point in grid coordinates, ``((w - 1) x / W, (h - 1) y / H)``, is spread bilinearly over its four cells.

    Args:
        point: ``(x, y)`` in pixels, ``0 <= x <= W``, ``0 <= y <= H``.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)`` cells.

    Returns:
        ``(h, w)`` float32.
    """
    state = np.zeros(grid)
    (top, bottom, down), (left, right, across) = (
        _split(coordinate, size, cells) for coordinate, size, cells in zip(point[::-1], image_size, grid, strict=True)
    )
    for row, row_share in ((top, 1 - down), (bottom, down)):
        for column, column_share in ((left, 1 - across), (right, across)):
            state[row, column] += row_share * column_share
    return np.asarray(state / state.max(), np.float32)


def _split(coordinate: float, size: int, cells: int) -> tuple[int, int, float]:
    position = (cells - 1) * coordinate / size
    low = min(int(position), cells - 1)
    return low, min(low + 1, cells - 1), position - low


def build_coarse_maps(
    transition: torch.Tensor, start_states: npt.NDArray[np.float32], method: MethodConfig, *, interpolate: bool = True
) -> npt.NDArray[np.float32]:
    """Steps until each cell's state first exceeds ``method.arrival_level`` of the largest state.

    Args:
        transition: ``(n, n)`` float32, or any multiple of it, on any device.
        start_states: ``(k, h, w)``, one for each click, ``h * w = n``.
        method: its arrival level and its most steps.
        interpolate: linear between the two steps around the arrival, else the whole step.

    Returns:
        ``(k, h, w)`` float32: 0 where the start state is above the level, ``method.max_steps`` where the walk never
        arrives.
    """
    state = torch.from_numpy(start_states.reshape(len(start_states), -1)).to(transition.device)
    level = method.arrival_level
    arrived = state > level
    steps = torch.where(arrived, 0.0, float(method.max_steps))
    for step in range(method.max_steps):
        previous = state
        # One matrix-vector product a click: it reads the matrix at memory speed, and a click's map is then the same to
        # the last bit whether it is computed alone or with others.
        state = torch.stack([transition.T @ single for single in previous])
        state = state / state.amax(dim=1, keepdim=True)
        arriving = (state > level) & ~arrived
        value: torch.Tensor | float = step + 1.0
        if interpolate:
            rise = state - previous if step else 1.0 - level
            value = step + 1.0 - (state - level) / (rise + SLOPE_FLOOR)
        steps = torch.where(arriving, value, steps)
        arrived |= arriving
        if bool(arrived.all()):
            break
    return np.asarray(steps.cpu()).reshape(start_states.shape)
