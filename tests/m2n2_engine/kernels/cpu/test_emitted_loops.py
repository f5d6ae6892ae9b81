"""Loops that are emitted as vector code, against the plain form that stands beside each."""

import numba
import numpy as np
import pytest

from m2n2_engine.kernels.cpu.matrix_rows import LOWEST, TILE_ROWS, exponentiate_row, multiply_tile, raise_row
from m2n2_engine.kernels.cpu.simd import LANES
from m2n2_engine.kernels.cpu.window_taps import COLUMNS, EXPONENT_SCALE, accumulate_taps


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@numba.njit
def call_multiply_tile(queries, head, tile, keys, panel, scores, row):
    multiply_tile(queries, head, tile, keys, panel, scores, row)


@numba.njit
def call_exponentiate_row(scores, row):
    return exponentiate_row(scores, row)


@numba.njit
def call_raise_row(values, exponent):
    return raise_row(values, exponent)


@numba.njit
def call_accumulate_taps(
    planes, row, centres, spatial, first, start, stop, nodes, node_start, node_stop, sums, line, bases
):
    accumulate_taps(planes, row, centres, spatial, first, start, stop, nodes, node_start, node_stop, sums, line, bases)


def test_a_tile_of_products(rng):
    queries, keys = (rng.normal(size=(2, 3, 7, group)).astype(np.float32) for group in (TILE_ROWS, LANES))
    scores = np.zeros((TILE_ROWS + 2, 3 * LANES), np.float32)
    expected = scores.copy()
    call_multiply_tile(queries, 1, 2, keys, 1, scores, 2)
    expected[2:, LANES : 2 * LANES] = queries[1, 2].T @ keys[1, 1]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_powers_of_two_of_a_row(rng, spread):
    scores = (spread * rng.normal(size=(3, 2 * LANES))).astype(np.float32)
    scores[1, 4], scores[1, 9] = LOWEST, scores[1].max() - 126.5
    others = scores[[0, 2]].copy()
    expected = 2 ** (scores[1] - scores[1].max()).astype(float)
    expected[expected < 2.0**-126] = 0  # no normal float32
    total = call_exponentiate_row(scores, 1)
    np.testing.assert_allclose(scores[1], expected, rtol=4e-7)
    assert total == pytest.approx(expected.sum(), rel=1e-6)
    np.testing.assert_array_equal(scores[[0, 2]], others)


@pytest.mark.parametrize("exponent", [0.4, 1.0, 1 / 0.65, 4.0])
def test_powers_of_a_row(rng, exponent):
    values = (rng.random(3 * LANES) ** 6).astype(np.float32)
    values[[3, 17]] = 0
    expected = (values.astype(float) / values.max()) ** exponent
    expected[expected < 2.0**-126] = 0
    total = call_raise_row(values, np.float32(exponent))
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert total == pytest.approx(expected.sum(), rel=1e-6)
    assert values[3] == values[17] == 0


def test_taps_of_a_window_row(rng):
    row, first, start, stop, node_start, node_stop, line = 2, 1, 3, 8, 1, 4, 6
    bases = np.array([4, 5])
    planes = rng.uniform(0, 0.9, (10, 3, 3 + LANES)).astype(np.float32)
    centres = rng.uniform(0, 0.9, (COLUMNS, 3, LANES)).astype(np.float32)
    spatial = rng.random((COLUMNS, 2, 12), np.float32)
    nodes = rng.random((5, LANES), np.float32)
    sums = rng.random((COLUMNS, 5, 5, LANES), np.float32)
    expected = sums.astype(float)
    for x in range(start, stop):
        for i in range(COLUMNS):
            u = ((planes[x, :, row : row + LANES] - centres[i]) ** 2).sum(axis=0)
            weight = np.exp(-EXPONENT_SCALE * np.minimum(u, 1))
            whole, right = spatial[i, :, x - first]
            for k in range(node_start, node_stop):
                expected[i, k, line - bases[i]] += nodes[k] * weight * (whole - right)
                expected[i, k, line - bases[i] + 1] += nodes[k] * weight * right
    call_accumulate_taps(
        planes, row, centres, spatial, first, start, stop, nodes, node_start, node_stop, sums, line, bases
    )
    np.testing.assert_allclose(sums, expected, atol=2e-5)
