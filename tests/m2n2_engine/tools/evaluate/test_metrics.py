"""IoU and NoC, computed by hand beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.datasets.coco import Instance, read_dataset, write_dataset
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.tools.drawing import write_picture
from m2n2_engine.tools.evaluate.measures.metrics import count_clicks, is_failure, measure_iou, score
from m2n2_engine.tools.evaluate.options import Band, Flip
from m2n2_engine.tools.evaluate.truth import flip_pixels, read_truth
from m2n2_engine.types import Mask


def row(*spans: tuple[int, int]) -> Mask:
    """One row of ten pixels, True in these spans."""
    mask = np.zeros((1, 10), bool)
    for start, end in spans:
        mask[0, start:end] = True
    return mask


@pytest.fixture
def make_instance(tmp_path: Path):
    def make(sure: Mask, unknown: Mask | None = None) -> Instance:
        path = tmp_path / "row.png"
        write_picture(path, np.zeros((*sure.shape, 3), np.uint8))
        write_dataset(tmp_path / "Rows", [(path, [GroundTruth(sure, unknown)])])
        return read_dataset(tmp_path / "Rows")[0]

    return make


def test_the_unknown_band_under_both_rules(make_instance) -> None:
    instance = make_instance(sure=row((2, 4)), unknown=row((0, 2), (4, 6)))
    mask = row((3, 8))
    # Object 0..5: 3 of 8 pixels; without the band 3 alone of 2, 3, 6, 7.
    assert measure_iou(mask, read_truth(instance, Band.OBJECT)) == 3 / 8
    assert measure_iou(mask, read_truth(instance, Band.IGNORE)) == 1 / 4
    only_the_band_differs = row((0, 4))
    assert measure_iou(only_the_band_differs, read_truth(instance, Band.OBJECT)) == 4 / 6
    assert measure_iou(only_the_band_differs, read_truth(instance, Band.IGNORE)) == 1.0


def test_without_a_band_both_rules_are_one(make_instance) -> None:
    instance = make_instance(sure=row((2, 4)))
    for band in Band:
        assert measure_iou(row((3, 5)), read_truth(instance, band)) == 1 / 3
        assert measure_iou(row(), read_truth(instance, band)) == 0.0


def test_an_object_that_is_all_band_is_named(make_instance) -> None:
    instance = make_instance(sure=row(), unknown=row((2, 4)))
    assert measure_iou(row((2, 4)), read_truth(instance, Band.OBJECT)) == 1.0
    with pytest.raises(InvalidImage, match="row has no object pixel with --band ignore: use another band"):
        read_truth(instance, Band.IGNORE)


def test_success_at_the_last_click_counts() -> None:
    late, never = [0.0] * 19 + [0.9], [0.899] * 20
    assert (count_clicks(late, 90), is_failure(late, 90)) == (20, False)
    assert (count_clicks(never, 90), is_failure(never, 90)) == (20, True)
    assert (count_clicks(never, 85), is_failure(never, 85)) == (1, False)


def test_noc_is_the_first_click_that_reaches_the_threshold_exactly() -> None:
    curve = [0.5, 0.85, 0.8, 0.95, 0.9]
    assert [count_clicks(curve, percent) for percent in (85, 90, 95)] == [2, 4, 4]


def test_figures_of_several_objects() -> None:
    found = score([[0.5, 0.9, 0.96], [0.86, 0.88, 0.7]])
    assert found.noc == {85: 1.5, 90: 2.5, 95: 3.0}
    assert found.failures == {85: 0, 90: 1, 95: 1}
    assert found.mean_ious == pytest.approx((0.68, 0.89, 0.83))


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        (Flip.NONE, [[1, 2], [3, 4]]),
        (Flip.HORIZONTAL, [[2, 1], [4, 3]]),
        (Flip.VERTICAL, [[3, 4], [1, 2]]),
        (Flip.BOTH, [[4, 3], [2, 1]]),
    ],
)
def test_flips(flip: Flip, expected: list[list[int]]) -> None:
    assert flip_pixels(np.array([[1, 2], [3, 4]]), flip).tolist() == expected
    assert flip_pixels(np.zeros((2, 3, 3), np.uint8), flip).shape == (2, 3, 3)
