"""The GPU's kernels, there or in Triton's interpreter, against the plain forms and the processor's."""

import dataclasses

import numpy as np
import pytest
import torch

from m2n2_engine.config import ChainConfig, MethodConfig
from m2n2_engine.kernels.cpu.click_maps import flood_fill as fill_on_processor
from m2n2_engine.kernels.cpu.upsampling_weights import upsample
from m2n2_engine.kernels.cuda.attention import build_tempered
from m2n2_engine.kernels.cuda.balancing import divide_rows
from m2n2_engine.kernels.cuda.flood_fill import flood_fill
from m2n2_engine.kernels.cuda.upsample import WindowUpsampler
from m2n2_engine.method import reference
from m2n2_engine.method.chain import AttentionFactors, LayerFactors, build_coarse_maps, build_start_state

METHOD = MethodConfig()
HALF_ERROR = 2.0**-11
"""Largest relative error of rounding to float16."""


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def random_layer(rng, device, heads, tokens, depth, weight, special_tokens=0, dtype=torch.float32):
    query, key = (torch.from_numpy(1.5 * rng.normal(size=(heads, tokens, depth))).to(device, dtype) for _ in "qk")
    return LayerFactors(query, key, weight, special_tokens, scale=0.7)


def random_attention(rng, device, cells, empty_column=False):
    """Rows that sum to 1, a column of them perhaps empty."""
    attention = torch.from_numpy(rng.random((cells, cells), np.float32) ** 8 + 1e-5).to(device)
    if empty_column:
        attention[:, 3] = 0
    return attention / attention.sum(dim=1, keepdim=True)


def two_layers(rng, device, grid):
    tokens = grid[0] * grid[1] + 5
    return AttentionFactors(
        tuple(random_layer(rng, device, heads, tokens, d, 0.5, special_tokens=5) for heads, d in ((3, 40), (1, 5))),
        grid,
    )


@pytest.mark.parametrize(
    ("grid", "layers"),
    [
        ((3, 4), [(1, 16, 1.0)]),
        ((10, 13), [(2, 64, 0.5), (2, 64, 0.5)]),
        ((11, 13), [(3, 40, 0.3), (1, 5, 0.7)]),
    ],
    ids=["less than a block", "two layers", "layers of different heads and depths"],
)
@pytest.mark.parametrize(("special_tokens", "dtype"), [(0, torch.float16), (5, torch.float32)])
def test_attention_is_tempered_as_by_the_plain_steps(rng, device, kernels, grid, layers, special_tokens, dtype):
    tokens = grid[0] * grid[1] + special_tokens
    factors = AttentionFactors(
        tuple(
            random_layer(rng, device, heads, tokens, d, weight, special_tokens, dtype) for heads, d, weight in layers
        ),
        grid,
    )
    found = build_tempered(factors, METHOD.chain.temperature)
    expected = reference.temper(reference.attention(factors), METHOD.chain.temperature)
    torch.testing.assert_close(kernels.to_probabilities(found), expected, rtol=1.1 * HALF_ERROR, atol=1e-9)


def test_attention_itself(rng, device, kernels):
    factors = two_layers(rng, device, (5, 7))
    found = kernels.build_attention(factors)
    torch.testing.assert_close(found, reference.attention(factors), rtol=1.1 * HALF_ERROR, atol=1e-9)


def test_the_transition_matrix_of_a_whole_attention_is_that_of_its_factors(rng, device, kernels):
    factors = two_layers(rng, device, (5, 7))
    chain = ChainConfig(balancing_rounds=16)
    attention = reference.attention(factors)
    found = kernels.to_probabilities(kernels.build_transition(attention.clone(), chain))
    _, of_factors = kernels.balance_factors(factors, chain)
    torch.testing.assert_close(found, reference.transition(attention, chain), rtol=3 * HALF_ERROR, atol=1e-9)
    torch.testing.assert_close(found, kernels.to_probabilities(of_factors), rtol=6 * HALF_ERROR, atol=1e-9)


def test_without_a_doubly_stochastic_form_the_rows_sum_to_1(device, kernels):
    attention = torch.full((35, 35), 1e-3, device=device)
    attention[:, 4] = 1
    attention /= attention.sum(dim=1, keepdim=True)
    chain = ChainConfig(temperature=0.05)
    found = kernels.to_probabilities(kernels.build_transition(attention.clone(), chain))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, reference.transition(attention, chain), rtol=3 * HALF_ERROR, atol=1e-9)


def test_probabilities_come_back_from_half_precision(rng, device, kernels):
    values = random_attention(rng, device, 20, empty_column=True)
    found = kernels.to_probabilities(kernels.from_probabilities(values.cpu()))
    assert found.device == values.device
    torch.testing.assert_close(found, values, rtol=HALF_ERROR, atol=1e-11)


def test_integers_are_read_as_what_they_stand_for(rng, device):
    floats = random_layer(rng, device, 2, 35, 8, 1.0)
    integers = dataclasses.replace(
        floats, query=(floats.query * 1000).to(torch.int16), key=(floats.key * 1000).to(torch.int16), scale=0.7e-6
    )
    found, expected = (
        build_tempered(AttentionFactors((layer,), (5, 7)), METHOD.chain.temperature).float()
        for layer in (integers, floats)
    )
    torch.testing.assert_close(found, expected, rtol=0.05, atol=1e-3)


def test_tempered_rows_survive_scores_beyond_float16(rng, device, kernels):
    layer = random_layer(rng, device, 1, 70, 16, 1.0)
    layer = dataclasses.replace(layer, query=layer.query * 40)
    factors = AttentionFactors((layer,), (7, 10))
    found = kernels.to_probabilities(build_tempered(factors, METHOD.chain.temperature))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(70, device=device), rtol=1e-3, atol=0)


@pytest.mark.parametrize("cells", [1, 37, 150])
def test_a_round_of_balancing(rng, device, kernels, cells):
    half = kernels.from_probabilities(random_attention(rng, device, cells))
    values = kernels.to_probabilities(half)
    columns = torch.from_numpy(rng.uniform(0.5, 2, cells).astype(np.float32)).to(device)
    rows, sums = divide_rows(half, columns)
    expected_rows = 1 / (values @ columns)
    torch.testing.assert_close(rows, expected_rows, rtol=1e-5, atol=0)
    torch.testing.assert_close(sums, values.T @ expected_rows, rtol=1e-5, atol=0)


@pytest.mark.parametrize("empty_column", [False, True])
def test_the_transition_matrix_is_doubly_stochastic(rng, device, kernels, empty_column):
    attention = random_attention(rng, device, 20, empty_column)
    chain = ChainConfig(balancing_rounds=9)
    found = kernels.to_probabilities(kernels.build_transition(attention.clone(), chain))
    torch.testing.assert_close(found, reference.transition(attention, chain), rtol=3 * HALF_ERROR, atol=1e-9)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(20, device=device), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("clicks", "interpolate", "grid"), [(1, False, (9, 15)), (3, True, (9, 15)), (17, True, (5, 14))]
)
def test_walks_arrive_when_the_plain_ones_do(rng, device, kernels, clicks, interpolate, grid):
    half = local_chain(device, kernels, grid)
    points = rng.uniform(0, 100, (clicks, 2))
    starts = np.stack([build_start_state((x, y), (100, 100), grid) for x, y in points])
    found = kernels.build_coarse_maps(half, starts, METHOD, interpolate=interpolate)
    expected = build_coarse_maps(half.float(), starts, METHOD, interpolate=interpolate)
    assert expected.max() > 5
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_walk_is_the_same_alone_and_with_others(rng, device, kernels):
    method = dataclasses.replace(METHOD, max_steps=4)
    starts = rng.random((3, 5, 14), np.float32)
    starts /= starts.max(axis=(1, 2), keepdims=True)
    half = local_chain(device, kernels, (5, 14))
    together = kernels.build_coarse_maps(half, starts, method)
    for start, found in zip(starts, together, strict=True):
        np.testing.assert_array_equal(kernels.build_coarse_maps(half, start[None], method)[0], found)


def test_a_walk_that_never_arrives_ends(device, kernels):
    method = dataclasses.replace(METHOD, max_steps=5)
    start = np.zeros((1, 2, 2), np.float32)
    start[0, 0, 0] = 1
    half = kernels.from_probabilities(torch.eye(4))
    np.testing.assert_array_equal(kernels.build_coarse_maps(half, start, method), [[[0, 5], [5, 5]]])


def local_chain(device, kernels, grid):
    """A doubly stochastic chain that goes to cells near by, in half precision."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    values = torch.from_numpy(np.exp(-squared / 14.0).astype(np.float32)).to(device)
    balanced = reference.balance(values / values.sum(dim=1, keepdim=True), METHOD.chain.balancing_rounds)
    return kernels.from_probabilities(balanced)


@pytest.mark.parametrize(
    ("size", "grid", "window_sigmas"),
    [((19, 37), (12, 20), 3.0), ((17, 70), (11, 30), 2.0), ((13, 11), (20, 19), 3.0), ((1, 40), (2, 9), 3.0)],
)
def test_windows_are_weighted_as_by_the_direct_form(rng, device, size, grid, window_sigmas):
    method = dataclasses.replace(METHOD, window_sigmas=window_sigmas)
    image = (rng.integers(0, 4, (*size, 3)) * 60).astype(np.uint8)
    coarse = rng.random(grid, np.float32)
    found = WindowUpsampler(image, grid, method, device).apply(coarse).cpu().numpy()
    np.testing.assert_allclose(found, reference.upsample(coarse, image, method), atol=5e-6)
    np.testing.assert_allclose(found, upsample(coarse, image, method), atol=5e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (9, 13)])
def test_maps_are_filled_as_on_the_processor(rng, device, size):
    values = rng.random((2, *size), np.float32)
    pixels = [(0, 0), (size[1] - 1, size[0] // 2)]
    found = flood_fill(torch.from_numpy(values).to(device), pixels, least_width=1).cpu().numpy()
    for single, pixel, filled in zip(values, pixels, found, strict=True):
        np.testing.assert_array_equal(filled, fill_on_processor(single, pixel))


def test_a_maze_is_finished_on_the_processor(device):
    walls = np.zeros((7, 9), np.float32)
    walls[1::4, :-1] = walls[3::4, 1:] = 1
    maze = torch.from_numpy(walls)[None].to(device)
    found = flood_fill(maze, [(0, 0)], least_width=1, rounds_on_device=1)[0].cpu().numpy()
    np.testing.assert_array_equal(found, fill_on_processor(walls, (0, 0)))
    assert not found[6].any()
