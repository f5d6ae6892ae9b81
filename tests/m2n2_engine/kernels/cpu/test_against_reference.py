"""The compiled steps against their direct forms, on shapes that the reference arrays do not have."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.chain import (
    balance,
    balance_factors,
    build_attention,
    build_transition,
    restore_transition,
    temper,
)
from m2n2_engine.kernels.cpu.click_maps import flood_fill, normalise
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cpu.upsampling_weights import upsample
from m2n2_engine.method import reference
from m2n2_engine.method.chain import AttentionFactors, LayerFactors
from m2n2_engine.method.edge_map import find_edges

METHOD = MethodConfig()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def random_matrix(rng, cells):
    return temper(torch.from_numpy(rng.random((cells, cells), np.float32) ** 4 + 1e-4), METHOD.chain.temperature)


def random_image(rng, height, width):
    # A few colours only, so that some windows are all alike and others have hard edges.
    return (rng.integers(0, 4, (height, width, 3)) * 60).astype(np.uint8)


def random_factors(rng, grid, special_tokens=1):
    tokens = grid[0] * grid[1] + special_tokens

    def layer(heads, depth, weight):
        query, key = (torch.from_numpy(rng.normal(size=(heads, tokens, depth)).astype(np.float32)) for _ in "qk")
        return LayerFactors(query, key, weight, special_tokens, scale=0.7)

    return AttentionFactors((layer(2, 8, 0.3), layer(3, 4, 0.7)), grid)


@pytest.mark.parametrize("special_tokens", [0, 1, 5])
@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (11, 13)])
def test_attention_of_two_layers(rng, grid, special_tokens):
    factors = random_factors(rng, grid, special_tokens)
    found = build_attention(factors)
    torch.testing.assert_close(found, reference.attention(factors), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_attention_of_scores_whose_exponentials_float32_cannot_hold(rng, shift):
    query, key = torch.zeros(1, 9, 4), torch.from_numpy(rng.normal(size=(1, 9, 4)).astype(np.float32))
    query[..., 0], key[..., 0] = 2.0, shift
    query[..., 1] = torch.arange(9)
    factors = AttentionFactors((LayerFactors(query, key, 1.0),), (3, 3))
    torch.testing.assert_close(build_attention(factors), reference.attention(factors), rtol=1e-4, atol=1e-7)


def test_attention_keeps_far_scores_apart():
    key = torch.tensor([0.0, -50.0, -200.0, -1e4])[None, :, None]
    factors = AttentionFactors((LayerFactors(torch.ones(1, 4, 1), key, 1.0),), (2, 2))
    expected = torch.tensor([1.0, math.exp(-50.0), 0.0, 0.0]).expand(4, 4)
    torch.testing.assert_close(build_attention(factors), expected, rtol=1e-5, atol=0.0)


def test_the_restored_transition_matrix_is_the_first_one_to_the_last_bit(rng, threads):
    factors = random_factors(rng, (11, 13))
    threads(1)
    balanced, transition = balance_factors(factors, METHOD.chain)
    threads(3)
    assert torch.equal(restore_transition(balanced, METHOD.chain), transition)


@pytest.mark.parametrize("temperature", [0.3, 0.65, 1.0, 1.7])
def test_tempering_meets_its_direct_form_and_keeps_zeros(rng, temperature):
    attention = torch.from_numpy(rng.random((37, 37), np.float32) ** 8 + 1e-12)
    attention[:, 5] = 0
    expected = reference.temper(attention, temperature)
    found = temper(attention.clone(), temperature)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-30)
    assert (found[:, 5] == 0).all()


@pytest.mark.parametrize("cells", [4, 37, 300])
def test_balancing_meets_all_rounds_over_the_full_matrix(rng, cells):
    matrix = random_matrix(rng, cells)
    rows, columns = balance(matrix, METHOD.chain)
    expected = reference.balance(matrix, METHOD.chain.balancing_rounds)
    torch.testing.assert_close(matrix * rows[:, None] * columns, expected, rtol=1e-5, atol=1e-8)


def test_balancing_leaves_an_empty_column_empty(rng):
    matrix = random_matrix(rng, 20)
    matrix[:, 3] = 0
    matrix /= matrix.sum(dim=1, keepdim=True)
    rows, columns = balance(matrix, METHOD.chain)
    balanced = matrix * rows[:, None] * columns
    assert torch.isfinite(balanced).all()
    assert (balanced[:, 3] == 0).all()
    torch.testing.assert_close(balanced.sum(dim=1), torch.ones(20))


def draw_stars(cells, stars):
    """Attention of cells that all look at a few, ``stars``, and hardly at others."""
    attention = torch.full((cells, cells), 1e-3)
    attention[torch.arange(cells), torch.arange(cells) % stars] = 1
    return attention / attention.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("temperature", [0.05, 0.001])
@pytest.mark.parametrize("stars", [1, 2])
@pytest.mark.parametrize("cells", [16, 144])
def test_without_a_doubly_stochastic_form_the_rows_sum_to_1(cells, stars, temperature):
    chain = dataclasses.replace(METHOD.chain, temperature=temperature)
    found = build_transition(draw_stars(cells, stars), chain)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(cells))
    torch.testing.assert_close(found, reference.transition(draw_stars(cells, stars), chain))


def test_some_cells_without_one_leave_the_others_balanced():
    attention = torch.full((20, 20), 1e-3) + torch.eye(20)
    attention[:3] = 1e-3
    attention[:3, 0] = 1
    attention /= attention.sum(dim=1, keepdim=True)
    chain = dataclasses.replace(METHOD.chain, temperature=0.01)
    found = build_transition(attention.clone(), chain)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(20))
    torch.testing.assert_close(found[3:, 3:], torch.eye(17))
    torch.testing.assert_close(found, reference.transition(attention, chain))


def test_tempering_survives_attention_below_float32(rng):
    attention = torch.from_numpy(rng.random((6, 6), np.float32))
    attention[2] = torch.tensor([1.0, 1e-38, 0.0, 1e-20, 0.0, 0.0])
    transition = build_transition(attention, METHOD.chain)
    assert torch.isfinite(transition).all()


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((40, 50), (7, 9)),
        ((48, 64), (8, 8)),
        ((5, 60), (4, 16)),
        ((13, 11), (20, 19)),
        ((1, 1), (2, 3)),
        ((2, 30), (6, 2)),
    ],
)
def test_upsampling_meets_one_pass_per_window_pixel(rng, size, grid):
    image, coarse = random_image(rng, *size), rng.random(grid, np.float32)
    np.testing.assert_allclose(upsample(coarse, image, METHOD), reference.upsample(coarse, image, METHOD), atol=5e-6)


@pytest.mark.parametrize("change", [{"spatial_sigma_cells": 0.7}, {"window_sigmas": 2.5}, {"range_sigma": 0.02}])
def test_upsampling_follows_its_constants(rng, change):
    method = dataclasses.replace(METHOD, **change)
    image, coarse = random_image(rng, 37, 45), rng.random((6, 7), np.float32)
    found = upsample(coarse, image, method)
    np.testing.assert_allclose(found, reference.upsample(coarse, image, method), atol=5e-6)
    assert np.abs(found - upsample(coarse, image, METHOD)).max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (23, 31)])
def test_flood_fill_meets_relaxation_to_the_end(rng, size):
    for values in (rng.random(size, np.float32), rng.integers(0, 3, size).astype(np.float32)):
        pixel = int(rng.integers(size[1])), int(rng.integers(size[0]))
        np.testing.assert_array_equal(flood_fill(values, pixel), reference.flood_fill(values, pixel))


def test_flood_fill_finds_the_way_through_a_spiral():
    # One corridor of zeros, 1 pixel wide, winds to the centre: every pixel of it is reached at no cost.
    size = 41
    walls = np.ones((size, size), np.float32)
    x, y, dx, dy = 0, 0, 1, 0
    walls[0, 0] = 0
    for _ in range(size * size):
        ahead = x + dx, y + dy
        beyond = x + 2 * dx, y + 2 * dy
        blocked = not (0 <= ahead[0] < size and 0 <= ahead[1] < size)
        if blocked or (0 <= beyond[0] < size and 0 <= beyond[1] < size and walls[beyond[1], beyond[0]] == 0):
            dx, dy = -dy, dx
            continue
        x, y = ahead
        walls[y, x] = 0
    filled = flood_fill(walls, (0, 0))
    np.testing.assert_array_equal(filled == 0, walls == 0)
    np.testing.assert_array_equal(filled, reference.flood_fill(walls, (0, 0)))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (5, 1), (2, 2), (23, 31)])
def test_edges_differ_by_one_level_where_rounding_decides(rng, size):
    values = rng.random(size, np.float32)
    click = find_edges(values, (0, 0), METHOD.edge_levels)
    difference = np.abs(click.levels - reference.sobel_levels(values, METHOD.edge_levels))
    assert difference.max() <= 1
    assert difference.mean() < 0.01
    assert click.levels.max() in (0, METHOD.edge_levels)


def test_a_flat_map_has_no_edges():
    for find_tiers in (
        lambda v: find_edges(v, (0, 0), METHOD.edge_levels).levels,
        lambda v: reference.sobel_levels(v, 1024),
    ):
        assert not find_tiers(np.zeros((5, 5), np.float32)).any()


@pytest.mark.parametrize("limit", [0.1, 0.4, 1.0])
def test_border_means_meet_their_direct_form(rng, limit):
    method = dataclasses.replace(METHOD, click_area_limit=limit)
    values = normalise(flood_fill(rng.random((17, 23), np.float32).round(1), (4, 5)))
    click = find_edges(values, (4, 5), method.edge_levels)
    ranked = rank_map(click, method)
    thresholds, means = reference.border_means(values, click.levels)
    ranks = np.arange(values.size - 1)
    allowed = int((ranks / (values.size - 2) < limit).sum())
    assert len(ranked.edges) == allowed
    np.testing.assert_array_equal(ranked.thresholds, thresholds[:allowed])
    np.testing.assert_allclose(ranked.edges, means[:allowed], rtol=1e-6)
