"""Steps 6 and 7 in torch, against the compiled ones."""

import cv2
import numpy as np
import pytest
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.click_maps import flood_fill, normalise
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cuda import thresholds as device_thresholds
from m2n2_engine.method import reference, thresholds
from m2n2_engine.method.edge_map import find_edges

METHOD = MethodConfig()
SIGNS = [True, False, True, False]


@pytest.fixture(params=[(1, 1), (1, 2), (7, 1), (12, 17), (60, 90)], ids=str)
def maps(request):
    """Filled maps of four clicks, the last one with plateaus."""
    rng = np.random.default_rng(3)
    height, width = request.param
    found = []
    for levels in (None, None, None, 4):
        values = cv2.resize(rng.random((5, 5), np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        pixel = (int(rng.integers(width)), int(rng.integers(height)))
        values = values.reshape(height, width)
        found.append((normalise(flood_fill(values if levels is None else (values * levels).round(), pixel)), pixel))
    return found


def rank(maps):
    return [device_thresholds.rank_map(torch.from_numpy(values), pixel, METHOD) for values, pixel in maps]


def test_levels_differ_by_one_where_rounding_decides(maps):
    for values, _ in maps:
        found = device_thresholds.sobel_levels(torch.from_numpy(values), METHOD.edge_levels).numpy()
        difference = np.abs(found - reference.sobel_levels(values, METHOD.edge_levels))
        assert difference.max() <= 1
        assert difference.mean() <= 0.05


def test_ranks_and_their_borders(maps):
    for (values, pixel), found in zip(maps, rank(maps), strict=True):
        expected = rank_map(find_edges(values, pixel, METHOD.edge_levels), METHOD)
        np.testing.assert_array_equal(found.thresholds, expected.thresholds)
        np.testing.assert_allclose(found.edges, expected.edges, atol=1.0)
        assert found.nbytes == expected.nbytes


def test_thresholds_scores_and_masks(maps):
    on_device = rank(maps)
    expected = [rank_map(find_edges(values, pixel, METHOD.edge_levels), METHOD) for values, pixel in maps]
    found_segments = device_thresholds.choose_thresholds(on_device, SIGNS, METHOD)
    expected_segments = thresholds.choose_thresholds(expected, SIGNS, METHOD)
    for found, wanted in zip(found_segments, expected_segments, strict=True):
        assert float(found.threshold) == wanted.threshold
        assert float(found.score) == pytest.approx(wanted.score, abs=1e-3)
    mask, score = device_thresholds.decide_jointly(on_device, SIGNS, METHOD)
    expected_mask, expected_score = thresholds.decide_jointly(expected, SIGNS, METHOD)
    np.testing.assert_array_equal(mask, expected_mask)
    assert score == pytest.approx(expected_score, abs=1e-3)


def test_the_lowest_of_equal_ranks_is_taken():
    ranked = device_thresholds.rank_map(torch.zeros(6, 8), (2, 3), METHOD)
    assert not ranked.edges.any()
    (chosen,) = device_thresholds.choose_thresholds([ranked], [True], METHOD)
    assert float(chosen.threshold) == float(chosen.score) == 0
