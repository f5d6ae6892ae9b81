"""Means over objects, and over those of a size."""

from __future__ import annotations

import numpy as np
import pytest

from m2n2_engine.tools.evaluate.measures.by_size import CLASSES, name_size, split_sizes
from m2n2_engine.tools.evaluate.measures.summary import summarise
from m2n2_engine.tools.evaluate.options import Band, BoxKind, Flip, Options, Rule
from m2n2_engine.tools.evaluate.pictures.click_sheet import choose_detail, choose_worst
from m2n2_engine.tools.evaluate.refinement import Mark
from m2n2_engine.types import Box, Click
from tests.helpers.evaluation import MakeRefinement

OPTIONS = Options(Rule.M2N2, (Band.OBJECT,), (Flip.NONE,), clicks=3)


def test_means_of_clicks(make_refinement: MakeRefinement) -> None:
    marks = (Mark(1, 0.2, ""), Mark(2, 0.4, ""), Mark(3, 0.6, ""))
    better = (Mark(1, 0.4, ""), Mark(2, 0.8, ""), Mark(3, 1.0, ""))
    found = summarise(
        [
            make_refinement("a", (0.5, 0.8, 0.8), marks=marks),
            make_refinement("b", (0.7, 0.9, 0.96), marks=better),
        ],
        OPTIONS,
    )
    assert found["objects"] == 2
    assert found["noc"] == {85: 2.5, 90: 2.5, 95: 3}
    assert found["failures"] == {85: 1, 90: 1, 95: 1}
    assert found["mean_iou"] == pytest.approx((0.6, 0.85, 0.88))
    assert found["boundary_f"] == pytest.approx({1: 0.3, 2: 0.6, 3: 0.8})
    assert "filled_box_iou" not in found


def test_means_of_boxes(make_refinement: MakeRefinement) -> None:
    """A box that is enough needs no click, and one that is never enough all of them."""
    options = Options(Rule.M2N2, (Band.OBJECT,), (Flip.NONE,), clicks=1, box=BoxKind.TIGHT)
    box = Box(0, 0, 4, 4)
    found = summarise(
        [
            make_refinement("a", (0.9, 0.7), box=box, filled_box_iou=0.6),
            make_refinement("b", (0.3, 0.4), box=box, filled_box_iou=0.8),
        ],
        options,
    )
    assert found["noc"][90] == 0.5
    assert found["mean_iou"] == pytest.approx((0.6, 0.55))
    assert found["filled_box_iou"] == pytest.approx(0.7)
    assert list(found["boundary_f"]) == [0, 1]


def test_objects_and_failures_are_those_of_one_flip(make_refinement: MakeRefinement) -> None:
    options = Options(Rule.M2N2, (Band.OBJECT,), tuple(Flip), clicks=1)
    found = summarise([make_refinement("a", (iou,)) for iou in (0.8, 0.8, 0.8, 0.9)], options)
    assert (found["objects"], found["failures"][85]) == (1, 0.75)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (0.1, "below 0.25 %"),
        (0.25, "0.25 to 1 %"),
        (0.99, "0.25 to 1 %"),
        (1, "1 to 3 %"),
        (3, "3 to 10 %"),
        (10, "from 10 %"),
        (100, "from 10 %"),
    ],
)
def test_classes_of_sizes(percent: float, expected: str) -> None:
    assert name_size(percent / 100) == expected


def test_refinements_by_size_from_small_to_large(make_refinement: MakeRefinement) -> None:
    found = [make_refinement(name, (0.5,), size_share=share) for name, share in (("a", 0.2), ("b", 0.001), ("c", 0.5))]
    split = split_sizes(found)
    assert {size: [each.instance for each in members] for size, members in split.items()} == {
        CLASSES[0]: ["b"],
        CLASSES[-1]: ["a", "c"],
    }


# --- the worst


def test_the_worst_are_those_after_five_clicks(make_refinement: MakeRefinement) -> None:
    found = [
        make_refinement("good at last", (0.1, 0.1, 0.1, 0.1, 0.3, 0.9)),
        make_refinement("bad at last", (0.9, 0.9, 0.9, 0.9, 0.8, 0.1)),
        make_refinement("few clicks", (0.9, 0.2)),
        make_refinement("flipped", (0.0,), flip=Flip.BOTH),
    ]
    assert [each.instance for each in choose_worst(found, 2)] == ["few clicks", "good at last"]
    assert len(choose_worst(found, 12)) == 3


def test_after_a_box_the_fifth_click_is_the_sixth_answer(make_refinement: MakeRefinement) -> None:
    box = Box(0, 0, 4, 4)
    found = [
        make_refinement("a", (0.5, 0.5, 0.5, 0.5, 0.1, 0.6), box=box),
        make_refinement("b", (0.5, 0.5, 0.5, 0.5, 0.9, 0.5), box=box),
    ]
    assert [each.instance for each in choose_worst(found, 1)] == ["b"]


def test_a_detail_shows_all_masks_with_a_margin_and_is_enlarged() -> None:
    masks = [np.zeros((100, 200), bool) for _ in range(2)]
    masks[0][50, 60] = masks[1][59, 79] = True
    detail = choose_detail(masks)
    # 19 columns apart: the margin is 1 + round(0.15 * 19).
    assert (detail.left, detail.top, detail.right, detail.bottom) == (56, 46, 84, 64)
    assert detail.scale == 320 // 28
    cut = detail.cut(masks[0])
    assert cut.shape == (18 * 11, 28 * 11)
    assert cut.sum() == 11 * 11
    moved = detail.move_click(Click(60, 50))
    assert (moved.x, moved.y) == (4 * 11 + 5, 4 * 11 + 5)
    assert cut[int(moved.y), int(moved.x)]
    assert detail.move_box(Box(60, 50, 61, 52)) == Box(44, 44, 55, 66)
    assert detail.move_box(None) is None


def test_a_detail_ends_at_the_border_of_the_image() -> None:
    detail = choose_detail([np.ones((400, 300), bool)])
    assert (detail.left, detail.top, detail.right, detail.bottom, detail.scale) == (0, 0, 300, 400, 1)
