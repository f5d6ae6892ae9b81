from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.label_studio.shapes.polygons import trace_polygons


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


def draw_blobs(shape, blur):
    """About half of the image, in pieces with holes."""
    random = np.random.default_rng(0).random(shape).astype(np.float32)
    blurred = cv2.GaussianBlur(random, (0, 0), blur)
    return blurred > np.median(blurred)


def compute_iou(mask, other):
    return (mask & other).sum() / (mask | other).sum()


@pytest.mark.parametrize("most", [20, 60, 200])
def test_there_are_no_more_vertices_than_asked_for(most):
    mask = draw_blobs((240, 320), 6)
    free = trace_polygons(mask, 1)
    assert sum(map(len, free)) > 200
    polygons = trace_polygons(mask, 1, most)
    assert most * 0.8 <= sum(map(len, polygons)) <= most
    assert all(len(polygon) >= 3 and area(polygon) > 0 for polygon in polygons)


def test_more_vertices_are_nearer_to_the_mask():
    mask = draw_blobs((240, 320), 30)
    found = [compute_iou(rasterise(trace_polygons(mask, 0, most), mask.shape), mask) for most in (40, 80, 160, 320)]
    assert found == sorted(found)
    assert found[0] > 0.8
    assert found[-1] > 0.98


def test_with_room_for_every_vertex_nothing_changes():
    mask = draw_blobs((120, 160), 6)
    free = trace_polygons(mask, 1)
    limited = trace_polygons(mask, 1, sum(map(len, free)))
    assert all(np.array_equal(one, other) for one, other in zip(free, limited, strict=True))


def test_with_too_few_vertices_the_smallest_pieces_are_left_out():
    mask = np.zeros((60, 100), bool)
    mask[5:55, 5:55] = True
    mask[20:30, 20:30] = False
    mask[10:30, 70:90] = mask[50:54, 80:84] = True
    assert [len(trace_polygons(mask, 0, most)) for most in (14, 8, 3)] == [2, 2, 1]
    (largest,) = trace_polygons(mask, 0, 3)
    assert area(largest) > 1000
