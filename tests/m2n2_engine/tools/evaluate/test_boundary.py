"""The F-measure of borders, computed by hand beside."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.evaluate.measures.boundary import find_border, measure_boundary_f
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Mask


def stripe(start: int, end: int) -> Mask:
    """Columns of 10 x 40 pixels."""
    mask = np.zeros((10, 40), bool)
    mask[:, start:end] = True
    return mask


def everywhere(pixels: Mask) -> Truth:
    return Truth(pixels, np.ones_like(pixels))


def test_a_border_is_the_pixels_beside_others_within_the_image() -> None:
    assert np.flatnonzero(find_border(stripe(5, 12))[3]).tolist() == [5, 11]
    assert np.flatnonzero(find_border(stripe(0, 12))[0]).tolist() == [11]
    block = np.zeros((10, 40), bool)
    block[2:6, 3:7] = True
    assert find_border(block).sum() == 12


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (stripe(10, 20), 1.0),
        (stripe(8, 22), 1.0),  # two pixels away on both sides
        (stripe(10, 23), 0.5),  # three away on one
        (stripe(0, 20), 2 * 1 * 0.5 / 1.5),  # its one border is right, one of two is missed
        (stripe(30, 35), 0.0),
        (stripe(0, 0), 0.0),
        (stripe(0, 40), 0.0),
    ],
)
def test_borders_within_two_pixels_agree(found: Mask, expected: float) -> None:
    assert measure_boundary_f(found, everywhere(stripe(10, 20))) == pytest.approx(expected)


def test_two_masks_without_a_border_agree() -> None:
    assert measure_boundary_f(stripe(0, 40), everywhere(stripe(0, 40))) == 1.0


def test_a_border_in_the_unknown_band_is_that_of_the_object() -> None:
    """Object 10 to 20, unknown on to 30."""
    truth = Truth(stripe(10, 20), ~stripe(20, 30))
    assert measure_boundary_f(stripe(10, 26), truth) == 1.0
    assert measure_boundary_f(stripe(10, 30), truth) == 1.0
    # Behind the band it has borders at 30 and 34: two of its four are wrong, and none of the object's is missed.
    assert measure_boundary_f(stripe(10, 35), truth) == pytest.approx(2 * 0.5 * 1 / 1.5)
