"""Step 2: attention -> doubly stochastic transition matrix, by temperature and balancing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.attention import build_attention
from m2n2_engine.kernels.cpu.attention_rows import raise_row
from m2n2_engine.kernels.cpu.compiled import compiled_fast, run_in_bands
from m2n2_engine.kernels.cpu.simd import LANES
from m2n2_engine.kernels.fused import is_fused
from m2n2_engine.method.factors import AttentionFactors, BalancedFactors

_CHECK_EVERY_ROUNDS = 8
"""Rounds between convergence tests on an accelerator, where each test waits for the device."""

_FLOAT32_TOLERANCE = 1e-6
"""Column sums of a float32 product of a few thousand terms come no closer to 1 than about this."""


def build_transition(attention: torch.Tensor, method: MethodConfig) -> torch.Tensor:
    """Transition matrix of the Markov chain over cells.

    attention: ``(n, n)`` float32, rows summing to 1; overwritten. Returns the same memory: doubly stochastic
    ``diag(rows) K diag(columns)`` with ``K`` the tempered attention.
    """
    tempered = temper(attention, method.chain.temperature)
    return scale(tempered, *balance(tempered, method.chain.balancing_rounds, method.chain.balancing_tolerance))


def balance_factors(factors: AttentionFactors, method: MethodConfig) -> tuple[BalancedFactors, torch.Tensor]:
    """The two vectors that balance an image's tempered attention, and the transition matrix ``(n, n)`` itself: float32,
    or where the kernels are fused float16 and ``fused.HALF_SCALE`` times as large."""
    tempered = _build_tempered(factors, method.chain.temperature)
    rows, columns = balance(tempered, method.chain.balancing_rounds, method.chain.balancing_tolerance)
    return BalancedFactors(factors, rows, columns), scale(tempered, rows, columns)


def restore_transition(balanced: BalancedFactors, method: MethodConfig) -> torch.Tensor:
    """The transition matrix ``(n, n)`` that ``balance_factors`` gave, to the last bit, without balancing again."""
    tempered = _build_tempered(balanced.factors, method.chain.temperature)
    return scale(tempered, balanced.rows, balanced.columns)


def _build_tempered(factors: AttentionFactors, temperature: float) -> torch.Tensor:
    if is_fused(factors.layers[0].query.device):
        from m2n2_engine.kernels.cuda import attention  # Triton is not everywhere

        return attention.build_tempered(factors, temperature)
    return temper(build_attention(factors), temperature)


def scale(matrix: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """``diag(rows) @ matrix @ diag(columns)``, in place. matrix: ``(n, n)``. rows, columns: ``(n,)``."""
    if matrix.dtype == torch.float16:
        from m2n2_engine.kernels.cuda import balancing

        return balancing.scale(matrix, rows, columns)
    if matrix.device.type != "cpu":
        return matrix.mul_(rows[:, None]).mul_(columns)

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


def temper(attention: torch.Tensor, temperature: float) -> torch.Tensor:
    """``rowsoftmax(log A / temperature)``, in place. attention: ``(n, n)``, rows (last axis) not all zero."""
    if attention.device.type == "cpu":
        return _temper_compiled(attention, temperature)
    # The row's largest element is 1 before the power, so that no row underflows as a whole.
    attention.div_(attention.amax(dim=1, keepdim=True)).pow_(1.0 / temperature)
    return attention.div_(attention.sum(dim=1, keepdim=True))


def _temper_compiled(attention: torch.Tensor, temperature: float) -> torch.Tensor:
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


def balance(matrix: torch.Tensor, rounds: int, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two vectors that make ``diag(rows) @ matrix @ diag(columns)`` doubly stochastic.

    Iterative proportional fitting: columns divided by their sums, then rows by theirs, at most ``rounds`` times; stops
    once ``max |column sum - 1| < tolerance``. An empty column keeps its zeros. matrix: ``(n, n)`` float32, not
    changed, no row all zero. Returns ``(rows, columns)``, each ``(n,)`` float32 on the matrix's device.
    """
    if matrix.device.type == "cpu" and matrix.dtype == torch.float32:
        return _balance_compiled(matrix, rounds, tolerance)
    return _balance_on_device(matrix, rounds, max(tolerance, _FLOAT32_TOLERANCE))


def _balance_compiled(matrix: torch.Tensor, rounds: int, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    array = matrix.numpy()
    rows = np.ones(len(array))
    sums = array.sum(axis=0, dtype=np.float64)
    columns = np.ones_like(sums)
    for _ in range(rounds):
        columns = np.divide(1.0, sums, out=columns, where=sums > 0)
        sums = _divide_rows(array, columns, rows)
        if np.abs(columns * sums - 1.0)[sums > 0].max() < tolerance:
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


def _balance_on_device(matrix: torch.Tensor, rounds: int, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    columns = torch.ones(len(matrix), device=matrix.device)
    rows, sums = _divide_rows_on_device(matrix, columns)  # the rows of the matrix sum to 1: these are all ones
    for done in range(1, rounds + 1):
        columns = torch.where(sums > 0, 1.0 / sums, columns)
        rows, sums = _divide_rows_on_device(matrix, columns)
        if done % _CHECK_EVERY_ROUNDS == 0:
            error = torch.where(sums > 0, (columns * sums - 1.0).abs(), 0.0).max()
            if error.item() < tolerance:
                break
    return rows, columns


def _divide_rows_on_device(matrix: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse row sums of ``matrix * columns``, and the column sums of ``matrix * rows[:, None]``."""
    if matrix.dtype == torch.float16:
        from m2n2_engine.kernels.cuda import balancing

        return balancing.divide_rows(matrix, columns)
    rows = 1.0 / (matrix @ columns)
    return rows, matrix.T @ rows
