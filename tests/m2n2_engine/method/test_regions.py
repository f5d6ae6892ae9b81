"""Regions of drawn images, and walks over them."""

import numpy as np
import pytest
import torch

from m2n2_engine.method.regions import Regions, walk_regions
from m2n2_engine.method.scene import look_at

NO_PRIOR = 0.0


@pytest.fixture
def chain_of_four():
    """Four regions in a row, a pixel each; the link in the middle is weak."""
    pairs = np.arange(3)
    return Regions(np.arange(4)[None], 4, np.ones(4), pairs, pairs + 1, np.array([1.0, 0.01, 1.0]))


def test_labels_cover_the_image(make_scene):
    regions = make_scene().regions
    assert regions.labels.shape == (60, 100)
    np.testing.assert_array_equal(np.unique(regions.labels), np.arange(regions.count))
    np.testing.assert_array_equal(regions.sizes, np.bincount(regions.labels.ravel()))
    assert regions.count == 8 * 13, "a region for each square of 8 pixels, begun ones too"
    assert regions.nbytes >= regions.labels.nbytes


def test_links_are_those_of_neighbours(make_scene):
    regions = make_scene().regions
    touching = {
        (min(pair), max(pair))
        for one, other in (
            (regions.labels[:, :-1], regions.labels[:, 1:]),
            (regions.labels[:-1], regions.labels[1:]),
        )
        for pair in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
        if pair[0] != pair[1]
    }
    links = list(zip(regions.first.tolist(), regions.second.tolist(), strict=True))
    assert len(links) == len(set(links))
    assert {(min(pair), max(pair)) for pair in links} == touching
    assert (regions.strengths > 0).all()


def test_links_across_an_edge_are_weaker(make_scene, image):
    regions = make_scene().regions
    red = np.bincount(regions.labels.ravel(), image[:, :, 0].ravel() > 100) / regions.sizes > 0.5
    across = red[regions.first] != red[regions.second]
    assert across.any()
    assert regions.strengths[across].max() < 0.1 * np.median(regions.strengths[~across])


def test_colours_alone_make_links_weaker(image, make_scene):
    """In a chain that goes everywhere alike, across half of the usual change of colour."""
    uniform = torch.full((4, 4), 0.25)
    faint = (image // 2 + 60).astype(np.uint8)
    strengths = []
    for pixels in (image, faint):
        regions = look_at(pixels, uniform, (2, 2), make_scene().method).regions
        red = np.bincount(regions.labels.ravel(), image[:, :, 0].ravel() > 100) / regions.sizes > 0.5
        across = red[regions.first] != red[regions.second]
        strengths.append((np.median(regions.strengths[across]), np.median(regions.strengths[~across])))
    assert strengths[0][0] < strengths[1][0] < 0.5 * strengths[1][1]


def test_a_walk_ends_at_clicks_and_turns_at_the_weak_link(chain_of_four):
    nothing = np.zeros((1, 4), bool)
    chance = walk_regions(chain_of_four, {(0, 0): True, (3, 0): False}, nothing, NO_PRIOR)[0]
    # Of the way from one end to the other, a link takes the inverse of its strength: 1, 100 and 1 of 102.
    np.testing.assert_allclose(chance, [1, 101 / 102, 1 / 102, 0], atol=1e-3)


def test_the_last_click_of_a_region_counts():
    regions = Regions(np.zeros((1, 2), np.int64), 1, np.array([2.0]), *[np.zeros(0, np.int64)] * 2, np.zeros(0))
    for last in (True, False):
        clicked = {(0, 0): not last, (1, 0): last}
        np.testing.assert_allclose(walk_regions(regions, clicked, np.zeros((1, 2), bool), NO_PRIOR), last, atol=1e-3)


def test_the_mask_before_decides_where_no_click_is_near(chain_of_four):
    before = np.array([[False, False, True, True]])
    chance = walk_regions(chain_of_four, {(0, 0): False}, before, 0.2)[0]
    assert chance[0] == pytest.approx(0, abs=1e-3)
    assert chance[1] < 0.5 < chance[2] < chance[3]


def test_a_walk_between_two_colours_follows_their_border(make_scene, image):
    clicked = {(20, 30): True, (45, 30): False, (70, 30): False}
    chance = walk_regions(make_scene().regions, clicked, np.zeros((60, 100), bool), 5e-4)
    assert chance.min() >= 0
    assert chance.max() <= 1
    red = image[:, :, 0] > 100
    left = np.broadcast_to(np.arange(100) < 50, red.shape)
    assert chance[red & left].mean() > 0.9
    assert chance[red & ~left].mean() < 0.1
    assert chance[20:41, 35:55].mean() < 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (9, 17)])
def test_images_of_any_size(make_scene, size):
    scene = make_scene()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    regions = look_at(noise, scene.transition, (12, 20), scene.method).regions
    np.testing.assert_array_equal(np.unique(regions.labels), np.arange(regions.count))
    for positive in (True, False):
        chance = walk_regions(regions, {(0, 0): positive}, np.zeros(size, bool), 5e-4)
        assert chance[0, 0] == pytest.approx(int(positive), abs=1e-3)
