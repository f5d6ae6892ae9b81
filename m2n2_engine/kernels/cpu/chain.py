"""Steps 1 and 2: query and key projections -> attention -> doubly stochastic transition matrix.

The plain form of each step is in ``method.reference``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from m2n2_engine.config import ChainConfig
from m2n2_engine.kernels.cpu.matrix_rows import LOWEST, TILE_ROWS, exponentiate_row, multiply_tile, raise_row
from m2n2_engine.kernels.cpu.simd import LANES
from m2n2_engine.kernels.cpu.threads import compiled_fast, run_in_bands
from m2n2_engine.method.chain import LARGEST_FACTOR, AttentionFactors, BalancedFactors, LayerFactors

_CHUNK_TILES = 8
"""Tiles of rows that a processor core finishes at a time: their scores stay in its cache between the passes over them,
and there are enough of them to make up for reading all keys again. Measured."""

_Packed = npt.NDArray[np.float32]


def build_transition(attention: torch.Tensor, chain: ChainConfig) -> torch.Tensor:
    """Transition matrix of the Markov chain over cells.

    Args:
        attention: ``(n, n)`` float32, rows summing to 1; overwritten where it is on the processor.
        chain: temperature and balancing.

    Returns:
        ``(n, n)`` doubly stochastic ``diag(rows) K diag(columns)`` with ``K`` the tempered attention.
    """
    tempered = temper(attention.cpu(), chain.temperature)
    return scale(tempered, *balance(tempered, chain))


def balance_factors(factors: AttentionFactors, chain: ChainConfig) -> tuple[BalancedFactors, torch.Tensor]:
    """The two vectors that balance an image's tempered attention, and the transition matrix ``(n, n)`` float32."""
    factors = factors.to("cpu")
    tempered = temper(build_attention(factors), chain.temperature)
    rows, columns = balance(tempered, chain)
    return BalancedFactors(factors, rows, columns), scale(tempered, rows, columns)


def restore_transition(balanced: BalancedFactors, chain: ChainConfig) -> torch.Tensor:
    """The transition matrix ``(n, n)`` that ``balance_factors`` gave, to the last bit, without balancing again."""
    balanced = balanced.to("cpu")
    tempered = temper(build_attention(balanced.factors), chain.temperature)
    return scale(tempered, balanced.rows, balanced.columns)


def from_probabilities(probabilities: torch.Tensor) -> torch.Tensor:
    """A transition matrix from its probabilities ``(n, n)``: here they are the same, as float32 on the processor."""
    return probabilities.to("cpu", torch.float32)


def to_probabilities(transition: torch.Tensor) -> torch.Tensor:
    """The float32 probabilities of a transition matrix ``(n, n)``: itself."""
    return transition


# --- step 1


def build_attention(factors: AttentionFactors) -> torch.Tensor:
    """Attention over the cells of the grid.

    For each layer ``softmax(scale Q K^T / sqrt(d))`` over all tokens, mean over heads, special tokens dropped; layers
    summed with their weights; rows normalised.

    Returns:
        ``(n, n)`` float32, ``n = h * w`` row-major, rows (last axis) summing to 1.
    """
    cells = factors.grid[0] * factors.grid[1]
    # numpy asks for huge pages, torch does not: without them the first touch of so much memory takes a tenth of the
    # whole time.
    attention = np.empty((cells, cells), np.float32)
    packed = [_pack_layer(layer) for layer in factors.to("cpu").layers]
    most_columns = max(keys.shape[1] for _, keys, _, _ in packed) * LANES
    chunk_rows = _CHUNK_TILES * TILE_ROWS

    def run(start: int, stop: int) -> None:
        scores = np.empty(chunk_rows * most_columns, np.float32)
        for first in range(start * chunk_rows, min(stop * chunk_rows, cells), chunk_rows):
            rows = attention[first : first + chunk_rows]
            rows[:] = 0
            for layer in packed:
                _add_rows_kernel(*layer, scores, rows, first // TILE_ROWS)
            rows /= rows.sum(axis=1, keepdims=True)

    run_in_bands(run, -(-cells // chunk_rows))
    return torch.from_numpy(attention)


def _pack_layer(layer: LayerFactors) -> tuple[_Packed, _Packed, int, float]:
    """Queries of the cells, scaled; keys, those of special tokens last; tokens; weight of a head."""
    heads, tokens, depth = layer.query.shape
    # Base 2: the exponential is one of two in the end.
    queries = layer.query[:, layer.special_tokens :].float() * (layer.scale * math.log2(math.e) * depth**-0.5)
    # A cell's column of the scores is then its column of the attention.
    keys = layer.key.float().roll(-layer.special_tokens, dims=1)
    return _pack(queries, TILE_ROWS), _pack(keys, LANES), tokens, layer.weight / heads


def _pack(vectors: torch.Tensor, group: int) -> _Packed:
    """``(heads, tokens, d)`` -> ``(heads, groups, d, group)``, filled up with zeros."""
    heads, tokens, depth = vectors.shape
    filled = functional.pad(vectors, (0, 0, 0, -tokens % group))
    return np.asarray(filled.reshape(heads, -1, group, depth).transpose(2, 3).contiguous())


@compiled_fast
def _add_rows_kernel(queries, keys, tokens, weight, scores, rows, first_tile):  # type: ignore[no-untyped-def]
    """Add a layer's attention from the cells of some tiles to ``rows``, (cells of the tiles, cells)."""
    heads, panels = keys.shape[:2]
    tiles = -(-len(rows) // TILE_ROWS)
    columns = panels * LANES
    scores = scores[: tiles * TILE_ROWS * columns].reshape(tiles * TILE_ROWS, columns)
    for head in range(heads):
        for panel in range(panels):
            for tile in range(tiles):
                multiply_tile(queries, head, first_tile + tile, keys, panel, scores, tile * TILE_ROWS)
        for row in range(len(rows)):
            scores[row, tokens:] = np.float32(LOWEST)
            share = np.float32(weight / exponentiate_row(scores, row))
            for cell in range(rows.shape[1]):
                rows[row, cell] += share * scores[row, cell]


# --- step 2


def temper(attention: torch.Tensor, temperature: float) -> torch.Tensor:
    """``rowsoftmax(log A / temperature)``, in place. attention: ``(n, n)``, rows (last axis) not all zero."""
    matrix = attention.numpy()

    def run(start: int, stop: int) -> None:
        padded = np.zeros(-(-matrix.shape[1] // LANES) * LANES, np.float32)
        _temper_kernel(matrix, np.float32(1.0 / temperature), padded, start, stop)

    run_in_bands(run, len(matrix))
    return attention


@compiled_fast
def _temper_kernel(matrix, exponent, padded, start, stop):  # type: ignore[no-untyped-def]
    cells = matrix.shape[1]
    for i in range(start, stop):
        padded[:cells] = matrix[i]
        inverse = np.float32(1.0) / raise_row(padded, exponent)
        for j in range(cells):
            matrix[i, j] = padded[j] * inverse


def balance(matrix: torch.Tensor, chain: ChainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Two vectors that make ``diag(rows) @ matrix @ diag(columns)`` doubly stochastic.

    Iterative proportional fitting: columns divided by their sums, then rows by theirs, at most
    ``chain.balancing_rounds`` times; stops once ``max |column sum - 1| < chain.balancing_tolerance``. An empty column
    keeps its zeros. Where there is no doubly stochastic form, the rows alone sum to 1.

    Args:
        matrix: ``(n, n)`` float32, not changed, rows summing to 1.
        chain: rounds and tolerance.

    Returns:
        ``(rows, columns)``, each ``(n,)`` float32.
    """
    array = matrix.numpy()
    rows = np.ones(len(array))
    sums = array.sum(axis=0, dtype=np.float64)
    columns = np.ones_like(sums)
    for _ in range(chain.balancing_rounds):
        columns = np.divide(1.0, sums, out=columns, where=sums > 0)
        columns = np.clip(columns, 1.0 / LARGEST_FACTOR, LARGEST_FACTOR, out=columns)
        sums = _divide_rows(array, columns, rows)
        if np.abs(columns * sums - 1.0)[sums > 0].max() < chain.balancing_tolerance:
            break
    return torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(columns.astype(np.float32))


def _divide_rows(
    matrix: npt.NDArray[np.float32], columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Set ``rows`` to the inverse row sums of ``matrix * columns``; return the column sums of ``matrix * rows``."""
    sums_of_bands: dict[int, npt.NDArray[np.float64]] = {}

    def run(start: int, stop: int) -> None:
        sums = sums_of_bands[start] = np.zeros_like(columns)
        _divide_rows_kernel(matrix, columns, rows, sums, start, stop)

    run_in_bands(run, len(matrix))
    # Bands finish in any order; adding them up in one order keeps the result the same to the last bit.
    return np.asarray(np.sum([sums_of_bands[start] for start in sorted(sums_of_bands)], axis=0))


@compiled_fast
def _divide_rows_kernel(matrix, columns, rows, sums, start, stop):  # type: ignore[no-untyped-def]
    # Each row is read once: while it is in the processor's cache it is summed and then added to the column sums.
    for i in range(start, stop):
        total = 0.0
        for j in range(matrix.shape[1]):
            total += matrix[i, j] * columns[j]
        rows[i] = 1.0 / total
        for j in range(matrix.shape[1]):
            sums[j] += matrix[i, j] * rows[i]


def scale(matrix: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """``diag(rows) @ matrix @ diag(columns)``, in place. matrix: ``(n, n)``. rows, columns: ``(n,)``."""

    def run(start: int, stop: int) -> None:
        _scale_kernel(matrix.numpy(), rows.numpy(), columns.numpy(), start, stop)

    run_in_bands(run, len(matrix))
    return matrix


@compiled_fast
def _scale_kernel(matrix, rows, columns, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        row = rows[i]
        for j in range(matrix.shape[1]):
            matrix[i, j] *= row * columns[j]
