"""What annotators expect of a click, on masks small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.evaluate.measures.invariants import InvariantCounts, Step, check_step, count_specks, sum_counts
from m2n2_engine.tools.evaluate.measures.totals import is_flip, total_invariants
from m2n2_engine.tools.evaluate.options import Band, BoxKind, Flip, Options, Rule
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Box, Click, Mask
from tests.helpers.evaluation import MakeRefinement

SHAPE = 30, 40
"""The diagonal is 50, so that far is more than 10 pixels away."""


def draw(*spans: tuple[int, int, int, int]) -> Mask:
    """Rectangles: left, top, right, bottom."""
    mask = np.zeros(SHAPE, bool)
    for left, top, right, bottom in spans:
        mask[top:bottom, left:right] = True
    return mask


TRUTH = Truth(draw((0, 0, 20, 20)), np.ones(SHAPE, bool))
BEFORE = Step(draw((0, 0, 10, 20)), 0.5, [Click(5, 5)])


def change(mask: Mask, click: Click, iou: float = 0.5) -> InvariantCounts:
    return check_step(Step(mask, iou, [*BEFORE.clicks, click]), BEFORE, TRUTH, None)


def test_a_click_that_does_what_it_should() -> None:
    counts = change(draw((0, 0, 10, 20), (10, 2, 14, 18)), Click(12, 10), 0.6)
    assert counts == InvariantCounts(clicks=1, masks=1)


def test_a_negative_click_that_adds() -> None:
    mask = draw((0, 0, 8, 20), (10, 0, 11, 1))
    assert change(mask, Click(9, 5, positive=False)).negative_adds == 1
    assert change(draw((0, 0, 8, 20)), Click(9, 5, positive=False)).negative_adds == 0


def test_a_positive_click_that_removes() -> None:
    mask = draw((0, 0, 12, 20))
    assert change(mask, Click(11, 5)).positive_removes == 0
    mask[19, 0] = False
    assert change(mask, Click(11, 5)).positive_removes == 1


def test_the_sign_of_any_click_counts_once_an_answer() -> None:
    assert change(draw((6, 6, 20, 20)), Click(14, 10)).sign_broken == 1  # the first click, at (5, 5), is lost
    assert change(draw((10, 10, 12, 12)), Click(3, 3)).sign_broken == 1  # both are
    assert change(draw((0, 0, 10, 20)), Click(9, 19, positive=False)).sign_broken == 1


def test_a_loss_is_more_than_five_hundredths_of_the_iou() -> None:
    mask = BEFORE.mask
    assert change(mask, Click(14, 10), 0.45).loses == 0
    assert change(mask, Click(14, 10), 0.44).loses == 1


def test_changes_far_from_the_click() -> None:
    """The click is at (9, 15). Added are columns 10 to 24 of row 15: ten columns away is not far, eleven is. Columns 20
    to 24 lie outside of the object, and so became wrong."""
    counts = change(draw((0, 0, 10, 20), (10, 15, 25, 16)), Click(9, 15))
    assert (counts.changed_far, counts.far_right_pixels, counts.far_wrong_pixels) == (1, 0, 5)
    near = change(draw((0, 0, 10, 20), (10, 15, 20, 16)), Click(9, 15))
    assert (near.changed_far, near.far_right_pixels, near.far_wrong_pixels) == (0, 0, 0)


def test_changes_far_away_that_are_right_and_such_that_do_not_count() -> None:
    known = np.ones(SHAPE, bool)
    known[0, 19] = False
    step = Step(draw((0, 0, 10, 20), (10, 0, 20, 1)), 0.5, [Click(5, 5), Click(2, 0)])
    counts = check_step(step, BEFORE, Truth(TRUTH.pixels & known, known), None)
    # Columns 13 to 19 of row 0 are farther than 10 from column 2; 19 is unknown.
    assert (counts.changed_far, counts.far_right_pixels, counts.far_wrong_pixels) == (1, 6, 0)


def test_the_first_answer_changes_nothing() -> None:
    step = Step(draw((0, 0, 40, 30)), 0.3, [Click(5, 5)])
    assert check_step(step, None, TRUTH, None) == InvariantCounts(clicks=1, masks=1)


def test_specks_are_small_pieces_and_small_holes() -> None:
    mask = draw((0, 0, 20, 20), (30, 0, 37, 7), (30, 10, 35, 20), (20, 20, 21, 21))
    # 400 pixels, 49, 50, and one that touches the first at a corner only.
    assert count_specks(mask) == (2, 0)
    mask[5:12, 5:12] = False  # a hole of 49
    mask[15, 15] = False
    mask[0, 3] = mask[29, 39] = False  # at the border of the image
    assert count_specks(mask) == (2, 2)
    mask[5, 12] = False  # 50
    assert count_specks(mask) == (2, 1)


def test_a_mask_without_pixels_or_background_has_no_specks() -> None:
    assert count_specks(np.zeros(SHAPE, bool)) == (0, 0)
    assert count_specks(np.ones(SHAPE, bool)) == (0, 0)


def test_pixels_outside_of_the_box() -> None:
    step = Step(draw((0, 0, 10, 10)), 0.3, [])
    assert check_step(step, None, TRUTH, Box(0, 0, 10, 10)) == InvariantCounts(masks=1)
    counts = check_step(step, None, TRUTH, Box(0, 0, 9.5, 8))
    assert (counts.clicks, counts.outside_box, counts.outside_box_pixels) == (0, 1, 20)


def test_counts_are_added() -> None:
    first = InvariantCounts(clicks=1, masks=2, loses=1)
    assert sum_counts([first, first, InvariantCounts(masks=1, small_holes=4)]) == InvariantCounts(
        clicks=2, masks=5, loses=2, small_holes=4
    )


# --- of many refinements

OPTIONS = Options(Rule.M2N2, (Band.OBJECT,), (Flip.NONE,), clicks=4)


def test_totals_are_counts_and_shares_of_the_clicks(make_refinement: MakeRefinement) -> None:
    counts = InvariantCounts(
        clicks=4,
        masks=4,
        negative_adds=2,
        loses=1,
        changed_far=1,
        far_right_pixels=7,
        far_wrong_pixels=3,
        small_holes=6,
    )
    others = InvariantCounts(clicks=4, masks=4, sign_broken=1, small_pieces=2)
    found = [make_refinement(name, (0.5,) * 4, invariants=each) for name, each in (("a", counts), ("b", others))]
    assert total_invariants(found, OPTIONS) == {
        "clicks": 8,
        "masks": 8,
        "negative_adds": {"count": 2, "share": 0.25},
        "positive_removes": {"count": 0, "share": 0},
        "sign_broken": {"count": 1, "share": 0.125},
        "loses": {"count": 1, "share": 0.125},
        "changed_far": {"count": 1, "share": 0.125, "right_pixels": 7, "wrong_pixels": 3},
        "specks": {"pieces": 0.25, "holes": 0.75},
        "total": 5,
    }


def test_totals_of_boxes_alone_have_no_clicks(make_refinement: MakeRefinement) -> None:
    counts = InvariantCounts(masks=1, outside_box=1, outside_box_pixels=9)
    box = Box(0, 0, 4, 4)
    options = Options(Rule.M2N2, (Band.OBJECT,), (Flip.NONE,), clicks=0, box=BoxKind.TIGHT)
    boxes = [make_refinement("a", (0.5,), invariants=counts, box=box), make_refinement("b", (0.5,), box=box)]
    found = total_invariants(boxes, options)
    assert found["clicks"] == 0
    assert found["loses"] == {"count": 0, "share": 0}
    assert found["outside_box"] == {"count": 1, "share": 0.5, "pixels": 9}
    assert found["total"] == 1


@pytest.mark.parametrize(
    ("moved", "expected"), [((0.5, 0.31), False), ((0.62, 0.31), True), ((0.1,), True), ((), False)]
)
def test_a_flip_is_a_spread_of_more_than_three_tenths(
    make_refinement: MakeRefinement, moved: tuple[float, ...], expected: bool
) -> None:
    assert is_flip(make_refinement("a", (0.5, 0.9), moved_ious=moved)) is expected


def test_flips_are_a_share_of_the_objects(make_refinement: MakeRefinement) -> None:
    found = [make_refinement("a", (0.5,), moved_ious=(0.9,)), *[make_refinement(name, (0.5,)) for name in "bcd"]]
    options = Options(Rule.M2N2, (Band.OBJECT,), (Flip.NONE,), clicks=1, jitter=True)
    totals = total_invariants(found, options)
    assert totals["flips"] == {"count": 1, "share": 0.25}
    assert totals["total"] == 1
