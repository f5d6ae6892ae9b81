"""Votes by hand, and what the evidence prefers."""

import dataclasses

import numpy as np
import pytest

from m2n2_engine.config import BoxEvidence, ClickEvidence
from m2n2_engine.method.candidates import cut_map
from m2n2_engine.method.edge_map import find_edges
from m2n2_engine.method.evidence import (
    Ballot,
    Frame,
    Side,
    Situation,
    choose_sizes,
    count_votes,
    score_box,
    score_click,
)
from m2n2_engine.method.scene import measure_appearance

LEVELS = 1024
NO_CLICK = ClickEvidence(**{field.name: 0.0 for field in dataclasses.fields(ClickEvidence)})
NO_BOX = BoxEvidence(**{field.name: 0.0 for field in dataclasses.fields(BoxEvidence)})


def draw_nested(sides, size=(40, 40)):
    """A map of squares around the middle, each further from the click than the one in it."""
    values = np.ones(size, np.float32)
    for number, side in sorted(enumerate(sides), reverse=True):
        start = 20 - side // 2
        values[start : start + side, start : start + side] = number / len(sides)
    return find_edges(values, (20, 20), LEVELS)


def cut(edge_map, count=8):
    everything = np.ones(edge_map.values.shape, bool)
    return cut_map(edge_map, everything, (1, everything.size), np.inf, count)


@pytest.fixture
def grey():
    """An image without colours or edges."""
    return measure_appearance(np.full((40, 40, 3), 128, np.uint8), (8, 8))


@pytest.fixture
def nothing():
    return Side(*np.zeros((2, 40, 40), np.float32))


def frame(left, top, right, bottom):
    inside = np.zeros((40, 40), bool)
    inside[top:bottom, left:right] = True
    inner = np.zeros((40, 40), bool)
    inner[top + 1 : bottom - 1, left + 1 : right - 1] = True
    return Frame(left, top, right, bottom, inside, inside & ~inner)


def test_two_ballots_by_hand():
    """Votes 1 and 3 of one map, 4 of another: of 8 in all."""
    row = np.ones((1, 3), bool)
    one = cut_map(find_edges(np.array([[0, 0.5, 1]], np.float32), (0, 0), LEVELS), row, (1, 2), np.inf, 2)
    other = cut_map(find_edges(np.array([[1, 0.5, 0]], np.float32), (2, 0), LEVELS), row, (2, 2), np.inf, 1)
    assert (one.areas.tolist(), other.areas.tolist()) == ([1, 2], [2])
    ballots = [
        Ballot(one, np.log([1.0, 3.0]), np.array([0.2, 0.6])),
        Ballot(other, np.log([4.0]), np.array([1.0])),
    ]
    shares, edge = count_votes(ballots)
    np.testing.assert_allclose(shares, [[4 / 8, 7 / 8, 4 / 8]])
    assert edge == pytest.approx((1 * 0.2 + 3 * 0.6 + 4 * 1.0) / 8)


def test_votes_do_not_depend_on_a_constant_in_all_scores():
    found = cut(draw_nested([10, 20]))
    scores = np.arange(found.count, dtype=float)
    votes = [count_votes([Ballot(found, scores + constant, scores)]) for constant in (0, 1e4, -1e4)]
    for shares, edge in votes[1:]:
        np.testing.assert_allclose(shares, votes[0][0])
        assert edge == pytest.approx(votes[0][1])


def best_side(ballot):
    """Side of the square that has the most votes."""
    return int(np.sqrt(ballot.candidates.areas[ballot.scores.argmax()]))


@pytest.mark.parametrize("side", [8, 16, 28])
def test_a_box_prefers_the_region_whose_bounding_box_fits(grey, nothing, side):
    edge_map = draw_nested([8, 16, 28])
    start = 20 - side // 2
    box = frame(start, start, start + side, start + side)
    weights = dataclasses.replace(NO_BOX, fit=1.0)
    ballot = score_box(edge_map, cut(edge_map), grey, nothing, weights, LEVELS, box)
    assert best_side(ballot) == side


@pytest.mark.parametrize(("name", "weight"), [("leak", -1.0), ("frame", -1.0), ("fill", 1.0), ("sides", 1.0)])
def test_each_evidence_of_a_box_by_hand(grey, nothing, name, weight):
    """Squares of 8, 16 and 28 pixels around the middle of a box of 20."""
    edge_map, box = draw_nested([8, 16, 28]), frame(10, 10, 30, 30)
    candidates = cut_map(edge_map, np.ones((40, 40), bool), (64, 784), np.inf, 24)
    assert candidates.areas.tolist() == [8**2, 16**2, 28**2]
    ballot = score_box(edge_map, candidates, grey, nothing, dataclasses.replace(NO_BOX, **{name: weight}), LEVELS, box)
    expected = {
        "leak": [0, 0, -(1 - 20**2 / 28**2)],
        "frame": [0, 0, -1],
        "fill": np.log([8**2 / 20**2, 16**2 / 20**2, 1]),
        "sides": [0, 0, 1],
    }
    np.testing.assert_allclose(ballot.scores, expected[name], atol=1e-12)


def test_a_box_prefers_a_region_in_its_middle(grey, nothing):
    edge_map = draw_nested([8])
    scores = [
        score_box(edge_map, cut(edge_map), grey, nothing, BoxEvidence(), LEVELS, frame(left, 14, left + 12, 26)).scores
        for left in (14, 18, 22)
    ]
    assert scores[0].max() > scores[1].max() > scores[2].max()


def test_a_click_prefers_the_region_that_it_is_in_the_middle_of(grey, nothing):
    values = np.ones((40, 40), np.float32)
    values[2:30, 2:30] = 0.5
    values[2:13, 2:13] = 0.0
    edge_map = find_edges(values, (7, 7), LEVELS)
    weights = dataclasses.replace(NO_CLICK, centring=1.0)
    no_rim = np.zeros((40, 40), bool)
    ballot = score_click(edge_map, cut(edge_map), grey, Situation(nothing, no_rim), weights, LEVELS, is_walk=False)
    assert best_side(ballot) == 11


def test_a_click_prefers_steep_edges_and_likely_colours(grey, nothing):
    edge_map, no_rim = draw_nested([8, 16, 28]), np.zeros((40, 40), bool)
    steep = dataclasses.replace(NO_CLICK, edge=1.0)
    candidates = cut_map(edge_map, np.ones((40, 40), bool), (64, 784), np.inf, 24)
    ballot = score_click(edge_map, candidates, grey, Situation(nothing, no_rim), steep, LEVELS, is_walk=False)
    np.testing.assert_array_equal(ballot.scores.argsort(), ballot.edges.argsort())
    likely = np.full((40, 40), -1, np.float32)
    likely[12:28, 12:28] = 1
    for name in ("colours", "likeness"):
        side = Side(likely, nothing.cells) if name == "colours" else Side(nothing.colours, likely)
        weights = dataclasses.replace(NO_CLICK, **{name: 2.0})
        ballot = score_click(edge_map, candidates, grey, Situation(side, no_rim), weights, LEVELS, is_walk=False)
        np.testing.assert_allclose(ballot.scores, [2, 2, 2 * (2 * 16**2 / 28**2 - 1)])


def test_what_is_wrong_after_many_clicks_is_small(grey, nothing):
    edge_map, no_rim = draw_nested([8, 16]), np.zeros((40, 40), bool)
    candidates = cut_map(edge_map, np.ones((40, 40), bool), (64, 256), np.inf, 24)
    weights = dataclasses.replace(NO_CLICK, size=-2.0)
    for clicks, settled in ((0, 0.0), (1, 0.0), (5, np.log(5))):
        found = Situation(nothing, no_rim, mask_pixels=128, clicks=clicks)
        ballot = score_click(edge_map, candidates, grey, found, weights, LEVELS, is_walk=False)
        np.testing.assert_allclose(ballot.scores, -2 * settled * np.log([0.5, 2]), atol=1e-9)


def test_the_walk_s_candidates_have_a_weight_of_their_own(grey, nothing):
    edge_map = draw_nested([8])
    weights = dataclasses.replace(NO_CLICK, walk=-1.5)
    for is_walk, expected in ((False, 0), (True, -1.5)):
        ballot = score_click(
            edge_map,
            cut(edge_map),
            grey,
            Situation(nothing, np.zeros((40, 40), bool)),
            weights,
            LEVELS,
            is_walk=is_walk,
        )
        np.testing.assert_array_equal(ballot.scores, expected)


def test_each_evidence_of_a_click_by_hand(grey, nothing):
    """Squares of 8 and 16 pixels, the click 4 and 8 pixels deep in them and 20 in the image; a rim at the left."""
    edge_map = draw_nested([8, 16])
    candidates = cut_map(edge_map, np.ones((40, 40), bool), (64, 256), np.inf, 24)
    rim = np.broadcast_to(np.arange(40) < 13, (40, 40))
    expected = {"depth": np.log([0.2, 0.4]), "shared": [0, 16 / (16 + 4 * 16)], "centring": [0, 0]}
    for name, scores in expected.items():
        weights = dataclasses.replace(NO_CLICK, **{name: 1.0})
        ballot = score_click(edge_map, candidates, grey, Situation(nothing, rim), weights, LEVELS, is_walk=False)
        np.testing.assert_allclose(ballot.scores, scores, atol=0.07, err_msg=name)


@pytest.mark.parametrize("side", [8, 16, 28])
def test_clicks_and_boxes_prefer_regions_that_end_at_the_image_s_edges(nothing, side):
    pixels, start = np.full((40, 40, 3), 128, np.uint8), 20 - side // 2
    pixels[start : start + side, start : start + side] = (220, 40, 40)
    appearance, edge_map, no_rim = (
        measure_appearance(pixels, (8, 8)),
        draw_nested([8, 16, 28]),
        np.zeros((40, 40), bool),
    )
    candidates = cut(edge_map)
    click, box = (dataclasses.replace(none, image_edge=1.0) for none in (NO_CLICK, NO_BOX))
    for ballot in (
        score_click(edge_map, candidates, appearance, Situation(nothing, no_rim), click, LEVELS, is_walk=False),
        score_box(edge_map, candidates, appearance, nothing, box, LEVELS, frame(5, 5, 35, 35)),
    ):
        assert best_side(ballot) == side


def test_other_sizes_are_likely_and_unlike_the_voted_one():
    edge_map = draw_nested([6, 12, 14, 28])
    candidates = cut(edge_map, 40)
    assert candidates.count == 5
    voted = candidates.select(2)
    areas = candidates.areas
    scores = np.array([0.0, -1.0, 1.0, -3.0, -9.0])
    found = choose_sizes([Ballot(candidates, scores, np.arange(5) / 10)], voted, 2)
    # The third is the voted one, and the second is like it; of the others the first is the likeliest.
    assert [(int(region.sum()), edge) for region, edge in found] == [(areas[0], 0.0), (areas[3], pytest.approx(0.3))]
    (larger,) = choose_sizes([Ballot(candidates, -scores * 3, np.arange(5) / 10)], voted, 1)
    assert larger[0].sum() == areas[4]


def test_where_all_sizes_are_alike_none_is_offered():
    candidates = cut(draw_nested([20]), 1)
    assert (
        choose_sizes(
            [Ballot(candidates, np.zeros(candidates.count), np.zeros(candidates.count))], candidates.select(0), 2
        )
        == []
    )
