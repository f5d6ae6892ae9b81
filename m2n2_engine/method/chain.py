"""The Markov chain of an image: what it is made of, and walks along it.

A network gives queries and keys, the factors of its attention. Balancing them gives the transition matrix. Step 3 is
the walk: when one that starts at a click reaches each cell. A step of a walk reads the whole matrix once, at the speed
of the memory, so on a processor this plain form is also the fast one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.types import Map

SLOPE_FLOOR = 1e-6
"""Added to a cell's last rise before dividing by it. Paper."""

LARGEST_FACTOR = 1e16
"""Balancing multiplies a column by at most this, and by at least its inverse. Where the tempered attention has too few
places above 0, there is no doubly stochastic form and the factors would grow without end. Here: far from what images
need, and products of two are still finite in float32."""


@dataclasses.dataclass(frozen=True, slots=True)
class LayerFactors:
    """Query and key of one self-attention layer, from which its attention can be rebuilt.

    query, key: ``(heads, tokens, d)``, special tokens (CLS, registers) first. weight: this layer's share of the sum.
    special_tokens: how many leading tokens are no cells of the grid. scale: what products of query and key are
    multiplied with, beside ``1 / sqrt(d)``: 1 unless they are kept as integers.
    """

    query: torch.Tensor
    key: torch.Tensor
    weight: float
    special_tokens: int = 0
    scale: float = 1.0

    @property
    def nbytes(self) -> int:
        """Memory of both, in bytes; keys that attend to keys take it once."""
        return self.key.nbytes + (0 if self.query is self.key else self.query.nbytes)

    def to(self, device: str) -> LayerFactors:
        """The same on a torch device; no copy where it is there already."""
        key = self.key.to(device)
        return dataclasses.replace(self, query=key if self.query is self.key else self.query.to(device), key=key)


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionFactors:
    """All that a backbone says of an image. grid: ``(h, w)`` cells, row-major."""

    layers: tuple[LayerFactors, ...]
    grid: tuple[int, int]

    def to(self, device: str) -> AttentionFactors:
        """The same on a torch device; no copy where it is there already."""
        return AttentionFactors(tuple(layer.to(device) for layer in self.layers), self.grid)


@dataclasses.dataclass(frozen=True, slots=True)
class BalancedFactors:
    """What is kept of an image beside its session: rebuilds the transition matrix without network and balancing.

    rows, columns: ``(n,)`` float32, ``n = h * w``; the transition matrix is ``diag(rows) K diag(columns)`` with ``K``
    the tempered attention of ``factors``. nbytes: memory of all tensors, in bytes; added up once, for caches ask often.
    """

    factors: AttentionFactors
    rows: torch.Tensor
    columns: torch.Tensor
    nbytes: int = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        layers_bytes = sum(layer.nbytes for layer in self.factors.layers)
        object.__setattr__(self, "nbytes", layers_bytes + self.rows.nbytes + self.columns.nbytes)

    def to(self, device: str) -> BalancedFactors:
        """The same on a torch device; no copy where it is there already."""
        return BalancedFactors(self.factors.to(device), self.rows.to(device), self.columns.to(device))


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
