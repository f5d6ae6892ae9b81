"""``m2n2 evaluate`` with other annotators: their tables, files and pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.helpers.evaluation import Run, read_figures, read_tables, succeed

pytestmark = pytest.mark.usefixtures("one_thread")


def test_invariants_and_sizes_have_tables_of_their_own(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder, "--band", "object", "--jitter")
    _, (heading, row), (by_size, *rows) = read_tables(result)
    figures = read_figures(tmp_path)
    found = figures["figures"]["object"]
    cells = dict(zip(heading, row, strict=True))
    assert cells["clicks"] == str(found["invariants"]["clicks"]) == "8"
    for name in ("negative_adds", "positive_removes", "sign_broken", "loses", "changed_far", "flips"):
        count = found["invariants"][name]
        assert cells[name] == f"{count['count']} ({count['share']:.1%})"
    assert "outside_box" not in cells
    assert cells["total"] == str(found["invariants"]["total"])
    assert figures["jitter"]
    assert by_size[:4] == ["dataset", "unknown band", "size", "objects"]
    assert by_size[4:] == ["NoC85", "NoC90", "IoU 1", "F 1", "never 0.85"]
    # The corner has 4 x 7 of 24 x 32 pixels, and the discs are larger.
    assert [line[2:4] for line in rows] == [["3 to 10 %", "1"], ["from 10 %", "3"], ["all", "4"]]
    assert rows[-1][6:8] == [f"{found['mean_iou'][0]:.3f}", f"{found['boundary_f']['1']:.3f}"]
    corner = next(made for made in figures["refinements"] if made["instance"] == "a#2")
    assert rows[0][6] == f"{corner['ious'][0]:.3f}"


def test_boxes(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder, "--band", "ignore", "--box", "tight", "--box-clicks", 1)
    (heading, row), (invariants, _), _ = read_tables(result)
    assert "rule m2n2, tight box, 1 clicks, no flips" in result.stdout
    assert heading[3:] == ["filled box", "IoU box", "IoU 1", "F box", "F 1", "s a box", "s a click", "s to prepare"]
    found = read_figures(tmp_path)["figures"]["ignore"]
    assert row[3:6] == [f"{value:.3f}" for value in (found["filled_box_iou"], *found["mean_iou"])]
    assert found["filled_box_iou"] > 0.8
    assert found["invariants"]["outside_box"]["count"] == 0
    assert "outside_box" in invariants
    for name in ("plots", "cases_ignore", "worst_ignore"):
        assert cv2.imread(str(tmp_path / "out" / f"Discs_{name}.png")).shape[1] > 600


def test_inner_clicks_are_named_and_do_not_mix_with_others(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", dataset_folder, "--band", "object", "--limit", 1]
    succeed(evaluate(*arguments))
    inner = evaluate(*arguments, "--clicks-at", "inner")
    assert "2 clicks, at inner, no flips" in inner.stdout
    seeded = evaluate(*arguments, "--clicks-at", "inner-seeded", "--seed", 7)
    assert "2 clicks, at inner-seeded with seed 7, no flips" in seeded.stdout
    succeed(evaluate(*arguments, "--clicks-at", "inner-seeded", "--seed", 7))
    succeed(evaluate(*arguments, "--jitter"))
    succeed(evaluate(*arguments, "--box", "loose"))
    assert len((tmp_path / "out" / "Discs_metrics.jsonl").read_text().splitlines()) == 5


def test_the_worst_are_drawn_click_by_click(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "Discs_worst_object.png"
    arguments = ["--dataset", dataset_folder, "--band", "object", "--clicks", 5]
    heights = []
    for count in (3, 1):
        succeed(evaluate(*arguments, "--worst", count))
        heights.append(cv2.imread(str(path)).shape[0])
    assert heights[0] - heights[1] == 2 * 290  # a row each
    path.unlink()
    succeed(evaluate(*arguments, "--worst", 0))
    assert not path.exists()
