from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.label_studio.polygons import trace_polygons


def area(polygon):
    x, y = polygon.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def rasterise(polygons, shape, scale=4):
    """Even-odd, by the centres of pixels, from an enlarged drawing."""
    canvas = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
    for polygon in polygons:
        one = np.zeros_like(canvas)
        cv2.fillPoly(one, [np.round(polygon * scale).astype(np.int32)], 1)
        canvas |= one
    return canvas[scale // 2 :: scale, scale // 2 :: scale] > 0


def test_a_rectangle_has_its_four_corners_on_the_sides_of_pixels():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 7:15] = True
    (polygon,) = trace_polygons(mask, 0)
    assert sorted(map(tuple, polygon.tolist())) == [(7, 2), (7, 5), (15, 2), (15, 5)]


def test_a_single_pixel_and_the_whole_image_are_squares():
    (pixel,) = trace_polygons(np.ones((1, 1), bool), 5)
    assert area(pixel) == 1
    (whole,) = trace_polygons(np.ones((30, 40), bool), 1)
    assert area(whole) == 1200


def test_an_empty_mask_has_none():
    assert trace_polygons(np.zeros((5, 5), bool), 1) == []


def test_pieces_are_polygons_of_their_own_largest_first():
    mask = np.zeros((20, 40), bool)
    mask[2:6, 2:6] = mask[4:16, 20:36] = True
    assert [area(polygon) for polygon in trace_polygons(mask, 0.5)] == [12 * 16, 16]


def test_specks_and_pinholes_are_left_out():
    mask = np.zeros((80, 80), bool)
    mask[:60, :60] = True
    mask[30, 30] = False
    mask[70, 70] = True
    (polygon,) = trace_polygons(mask, 0)
    assert area(polygon) == 3600


@pytest.mark.parametrize("holes", [1, 2])
def test_holes_stay_open(holes):
    mask = np.zeros((60, 80), bool)
    mask[5:55, 5:75] = True
    mask[20:40, 15:30] = False
    mask[20:40, 50:60] = holes == 1
    (polygon,) = trace_polygons(mask, 0)
    assert np.array_equal(rasterise([polygon], mask.shape), mask)


def test_no_outline_is_further_off_than_the_tolerance():
    rng = np.random.default_rng(0)
    blurred = cv2.GaussianBlur(rng.random((120, 160)).astype(np.float32), (0, 0), 6)
    mask = blurred > np.median(blurred)
    exact, coarse = trace_polygons(mask, 0), trace_polygons(mask, 3)
    assert np.array_equal(rasterise(exact, mask.shape), mask)
    assert sum(map(len, coarse)) < sum(map(len, exact)) / 4
    differs = rasterise(coarse, mask.shape) != mask
    inwards, outwards = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (mask, ~mask))
    assert differs.any()
    assert (inwards + outwards)[differs].max() <= 3 + 1
