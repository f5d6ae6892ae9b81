"""Boxes around objects, and boxes and clicks that are moved a little."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.evaluate.options import BoxKind
from m2n2_engine.tools.evaluate.simulation.boxes import draw_box, fill_box
from m2n2_engine.tools.evaluate.simulation.jitter import move_box, move_click
from m2n2_engine.types import Box, Click, Mask


def draw_object(left: int, top: int, right: int, bottom: int) -> Mask:
    """Corners of a rectangle in 30 x 40 pixels, and nothing between them."""
    pixels = np.zeros((30, 40), bool)
    pixels[top, left] = pixels[bottom - 1, right - 1] = True
    return pixels


def test_a_tight_box_ends_behind_the_last_pixel() -> None:
    assert draw_box(BoxKind.TIGHT, draw_object(10, 5, 30, 25)) == Box(10, 5, 30, 25)
    assert draw_box(BoxKind.TIGHT, draw_object(39, 29, 40, 30)) == Box(39, 29, 40, 30)


def test_a_loose_box_lies_a_tenth_of_its_sides_further_out() -> None:
    assert draw_box(BoxKind.LOOSE, draw_object(10, 5, 30, 15)) == Box(8, 4, 32, 16)


def test_a_loose_box_ends_at_the_border_of_the_image() -> None:
    assert draw_box(BoxKind.LOOSE, draw_object(1, 0, 40, 20)) == Box(0, 0, 40, 22)


def test_a_filled_box_has_the_pixels_that_it_touches() -> None:
    filled = fill_box(Box(2, 1, 4.5, 3.2), (6, 8))
    assert np.argwhere(filled).min(axis=0).tolist() == [1, 2]
    assert np.argwhere(filled).max(axis=0).tolist() == [3, 4]
    assert filled.sum() == 9


def test_a_box_moves_with_all_its_sides() -> None:
    assert move_box(Box(10, 5, 30, 25), 40, 30) == [
        Box(12, 5, 32, 25),
        Box(8, 5, 28, 25),
        Box(10, 7, 30, 27),
        Box(10, 3, 30, 23),
    ]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(0, 0, 20, 20), [Box(2, 0, 22, 20), Box(0, 0, 18, 20), Box(0, 2, 20, 22), Box(0, 0, 20, 18)]),
        (Box(0, 0, 40, 30), [Box(2, 0, 40, 30), Box(0, 0, 38, 30), Box(0, 2, 40, 30), Box(0, 0, 40, 28)]),
        (Box(38, 10, 40, 20), [Box(36, 10, 38, 20), Box(38, 12, 40, 22), Box(38, 8, 40, 18)]),
    ],
)
def test_a_moved_box_stays_in_the_image_and_has_an_area(box: Box, expected: list[Box]) -> None:
    assert move_box(box, 40, 30) == expected


def test_a_click_moves_as_far_as_the_object_and_the_image_go() -> None:
    pixels = np.zeros((30, 40), bool)
    pixels[10:20, 30:40] = True
    assert move_click(Click(35, 15), pixels) == [Click(37, 15), Click(33, 15), Click(35, 17), Click(35, 13)]
    assert move_click(Click(38, 11), pixels) == [Click(39, 11), Click(36, 11), Click(38, 13)]
    assert move_click(Click(39, 19), pixels) == [Click(37, 19), Click(39, 17)]
