"""Colours, edges and the odds of two sides, by hand."""

import numpy as np
import pytest
import torch

from m2n2_engine.method.colour_cut import measure_difference
from m2n2_engine.method.scene import measure_appearance, weigh_cells, weigh_colours

STRONGEST = 3.0
LEFT = np.broadcast_to(np.arange(20) < 10, (10, 20))


@pytest.fixture
def appearance():
    """Orange on the left, blue on the right; two cells."""
    image = np.where(LEFT[:, :, None], (220, 140, 30), (40, 60, 160)).astype(np.uint8)
    return measure_appearance(image, (1, 2))


def test_cells_are_those_of_the_grid():
    cells = measure_appearance(np.zeros((4, 6, 3), np.uint8), (2, 3)).cells
    assert cells.tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2


def test_more_cells_than_pixels():
    cells = measure_appearance(np.zeros((1, 3, 3), np.uint8), (4, 6)).cells
    assert cells.tolist() == [[13, 15, 17]]


def test_edges_are_where_colours_change(appearance):
    assert appearance.edges[:, 9:11].min() > 10
    assert appearance.edges[:, :6].max() == appearance.edges[:, 14:].max() == 0
    assert appearance.mean_edge == pytest.approx(appearance.edges.mean())
    assert appearance.nbytes > appearance.image.nbytes + appearance.edges.nbytes


def test_the_scale_of_a_border_s_edges_is_in_means_over_the_image(make_scene):
    one, half = make_scene(colour_edge_scale=1.0), make_scene(colour_edge_scale=0.5)
    assert one.edge_difference == measure_difference(one.appearance.image) > 0
    assert half.edge_difference == one.edge_difference / 2


def test_an_image_without_edges_has_a_mean_to_divide_by():
    assert measure_appearance(np.full((5, 5, 3), 90, np.uint8), (2, 2)).mean_edge > 0


def test_colours_of_one_side_only_prove_all_they_can(appearance):
    np.testing.assert_array_equal(weigh_colours(appearance, LEFT, ~LEFT), np.where(LEFT, STRONGEST, -STRONGEST))


def test_colours_that_both_sides_have_prove_what_their_shares_say(appearance):
    """One side has half of the orange, the other all the rest: half of what is left is blue."""
    top = np.broadcast_to(np.arange(10)[:, None] < 5, (10, 20)) & LEFT
    odds = weigh_colours(appearance, top, ~top)
    assert odds[LEFT] == pytest.approx(np.log(1 / (50 / 150)), rel=0.01)
    assert odds[~LEFT] == pytest.approx(-STRONGEST)
    assert weigh_colours(appearance, ~top, top) == pytest.approx(-odds)


def test_a_side_of_few_pixels_says_nothing(appearance):
    few = np.arange(200).reshape(10, 20) < 19
    transition = torch.eye(2)
    for one, other in ((few, ~few), (~few, few)):
        assert not weigh_colours(appearance, one, other).any()
        assert not weigh_cells(appearance, transition, one, other).any()


def test_cells_by_hand(appearance):
    """From the left cell a step stays there with 0.8; from the right one with 0.6."""
    transition = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    odds = weigh_cells(appearance, transition, LEFT, ~LEFT)
    # Row times side, over row times all cells alike; 0.05 is added to each.
    left = np.log((0.8 / 0.5 + 0.05) / (0.2 / 0.5 + 0.05))
    right = np.log((0.4 / 0.5 + 0.05) / (0.6 / 0.5 + 0.05))
    np.testing.assert_allclose(odds, np.where(LEFT, left, right), rtol=1e-5)


@pytest.mark.parametrize("factor", [0.25, 1024.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_any_multiple_of_the_transition_gives_the_same(appearance, factor, dtype):
    transition = torch.tensor([[0.8, 0.2], [0.4, 0.6]], dtype=dtype)
    expected = weigh_cells(appearance, transition, LEFT, ~LEFT)
    np.testing.assert_allclose(weigh_cells(appearance, transition * factor, LEFT, ~LEFT), expected, rtol=1e-5)


def test_a_matrix_of_many_rows_is_multiplied_whole():
    """More rows than are taken at once: each cell is near its own side alone."""
    wide = measure_appearance(np.zeros((1, 2100, 3), np.uint8), (1, 2100))
    one = np.arange(2100)[None] < 1500
    np.testing.assert_array_equal(np.sign(weigh_cells(wide, torch.eye(2100), one, ~one)), np.where(one, 1, -1))
