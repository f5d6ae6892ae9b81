"""Spots of one colour under a click, in drawn images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from m2n2_engine.session.spot import find_spot
from m2n2_engine.types import Box

CELL_PIXELS = 40.0


def draw(radius, colour=(220, 60, 40), ground=(40, 60, 90), center=(150, 100)):
    image = np.full((200, 300, 3), ground, np.uint8)
    return cv2.circle(image, center, radius, colour, cv2.FILLED)


@pytest.mark.parametrize("radius", [2, 6, 15])
def test_a_small_disc_is_a_spot(radius):
    found = find_spot(draw(radius), (150, 100), CELL_PIXELS)
    assert found == Box(150 - radius, 100 - radius, 151 + radius, 101 + radius)


def test_a_blurred_disc_is_one_too():
    found = find_spot(cv2.GaussianBlur(draw(12), (0, 0), 1.5), (150, 100), CELL_PIXELS)
    assert found.left == pytest.approx(138, abs=2)
    assert found.bottom == pytest.approx(113, abs=2)


def test_a_spot_at_the_edge_of_the_image_is_told_in_its_pixels():
    assert find_spot(draw(6, center=(0, 199)), (0, 199), CELL_PIXELS) == Box(0, 193, 7, 200)


def test_a_disc_larger_than_a_cell_is_none():
    assert find_spot(draw(21), (150, 100), CELL_PIXELS) is None


def test_the_ground_is_none():
    assert find_spot(draw(6), (20, 20), CELL_PIXELS) is None
    assert find_spot(draw(6), (150, 110), CELL_PIXELS) is None


def test_a_few_pixels_are_noise():
    assert find_spot(draw(0), (150, 100), CELL_PIXELS) is None


def test_what_hardly_differs_from_its_ground_is_none():
    assert find_spot(draw(6, (52, 60, 90)), (150, 100), CELL_PIXELS) is None


def test_a_place_in_a_slope_of_colours_is_none():
    slope = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    assert find_spot(slope, (150, 100), CELL_PIXELS) is None
