"""Every step against the arrays of the method's reference implementation (float32, CPU)."""

import numpy as np
import pytest

from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu.chain import temper
from m2n2_engine.kernels.cpu.click_maps import flood_fill, normalise
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cpu.upsampling_weights import build_upsampler, upsample
from m2n2_engine.method.chain import build_coarse_maps, build_start_state
from m2n2_engine.method.edge_map import find_edges
from m2n2_engine.method.thresholds import choose_thresholds, score_ranks

TRANSITION_ERROR = 1e-5
MAP_ERROR = 1e-4
STRAY_RANKS = 5


def test_tempered_attention(reference, attention, relative_error):
    tempered = temper(attention, float(reference["temperature"]))
    assert relative_error(tempered, reference["tempered"]) < TRANSITION_ERROR


def test_transition_matrix(reference, transition, relative_error):
    assert relative_error(transition, reference["transition"]) < TRANSITION_ERROR


def test_start_state(reference, relative_error):
    grid = reference["attention"].shape[:2]
    state = build_start_state(tuple(reference["click"]), reference["image"].shape[:2], grid)
    assert relative_error(state, reference["start_state"]) < 1e-6


@pytest.mark.parametrize(("interpolate", "array"), [(True, "coarse_markov_map"), (False, "coarse_markov_map_integer")])
def test_coarse_map(reference, transition, method, relative_error, interpolate, array):
    coarse = build_coarse_maps(transition, reference["start_state"][None], method, interpolate=interpolate)[0]
    assert relative_error(coarse, reference[array]) < MAP_ERROR


def test_upsampled_map_streamed_and_by_kept_weights(reference, method, relative_error):
    coarse, image = reference["coarse_markov_map"], reference["image"]
    kept = build_upsampler(image, coarse.shape, method).apply(coarse)
    assert relative_error(kept, reference["upsampled"]) < MAP_ERROR
    np.testing.assert_array_equal(upsample(coarse, image, method), kept)


def test_flood_filled_and_normalised_map(reference, pixel, relative_error):
    filled = flood_fill(normalise(reference["upsampled"]), pixel)
    assert relative_error(filled, reference["flood_filled"]) < MAP_ERROR
    assert relative_error(normalise(filled), reference["markov_map"]) < MAP_ERROR


def test_thresholds_and_scores_of_every_rank(reference, pixel, method):
    ranked = rank_map(find_edges(reference["markov_map"], pixel, method.edge_levels), method)
    scores = np.zeros_like(reference["scores"])
    scores[: len(ranked.edges)] = score_ranks(ranked, np.zeros(1, np.float32), np.empty(0, np.float32))
    np.testing.assert_array_equal(ranked.thresholds, reference["thresholds"][: len(ranked.thresholds)])
    stray = ~np.isclose(scores, reference["scores"], rtol=1e-4, atol=1e-3)
    assert stray.sum() <= STRAY_RANKS


def test_best_threshold(reference, pixel, method):
    ranked = rank_map(find_edges(reference["markov_map"], pixel, method.edge_levels), method)
    (segment,) = choose_thresholds([ranked], [True], method)
    assert np.float32(segment.threshold) == reference["best_threshold"]


def test_masks_of_prompts(reference, transition, method):
    image, grid = reference["image"], reference["attention"].shape[:2]
    click_maps = choose_kernels("cpu").build_click_maps(image, grid, method)
    prompts = [name.removesuffix("_points") for name in reference if name.endswith("_points")]
    assert len(prompts) >= 3
    for prompt in prompts:
        points, signs = reference[f"{prompt}_points"], [bool(label) for label in reference[f"{prompt}_labels"]]
        starts = np.stack([build_start_state(tuple(point), image.shape[:2], grid) for point in points])
        pixels = [(int(x), int(y)) for x, y in points]
        ranked = click_maps.rank(build_coarse_maps(transition, starts, method), pixels)
        mask, _ = click_maps.decide(ranked, signs)
        expected = reference[f"{prompt}_mask"] > 0
        assert (mask & expected).sum() / (mask | expected).sum() >= 0.999
        assert mask.sum() == expected.sum()
