"""``m2n2 evaluate``: what it prints and leaves behind, and one clear line for what a person got wrong."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from backend.cli.main import make_tool_settings
from backend.settings import load_settings
from m2n2_engine.errors import DatasetError
from m2n2_engine.tools.evaluate.pictures.contact_sheet import choose_cases
from m2n2_engine.types import Box, Click, EngineStatus, Image, Mask, Segmentation
from tests.helpers.evaluation import MakeRefinement, Run, read_figures, succeed

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_table_and_the_files(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder)
    heading, *rows = succeed(result)
    assert heading[:6] == ["dataset", "objects", "unknown band", "NoC85", "NoC90", "NoC95"]
    assert [row[:3] for row in rows] == [["Discs", "4", "object"], ["Discs", "4", "ignore"]]
    figures = read_figures(tmp_path)
    first = result.stdout.splitlines()[0]
    assert first == f"tiny, grid 8x8, preset paper, cpu; rule m2n2, 2 clicks, no flips; {figures['run']['date']}"
    for row, band in zip(rows, ("object", "ignore"), strict=True):
        found = figures["figures"][band]
        assert row[3:6] == [f"{found['noc'][percent]:.2f}" for percent in ("85", "90", "95")]
        assert row[6:9] == [f"{found['failures'][percent]:g}" for percent in ("85", "90", "95")]
        assert row[9:11] == [f"{iou:.3f}" for iou in found["mean_iou"]]
        ious = [made["ious"] for made in figures["refinements"] if made["band"] == band]
        assert found["mean_iou"] == pytest.approx([sum(column) / 4 for column in zip(*ious, strict=True)])
    assert [made["instance"] for made in figures["refinements"][:4]] == ["a#1", "a#2", "b", "c"]
    for name in ("Discs_plots.png", "Discs_cases_object.png", "Discs_cases_ignore.png"):
        assert cv2.imread(str(tmp_path / "out" / name)).shape[1] > 600


def test_the_tiny_network_finds_discs(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    """Wrong clicks or a truth that is turned around would not reach this."""
    succeed(evaluate("--dataset", dataset_folder, "--band", "ignore", "--flips", "--grid", 16))
    discs = [made["ious"] for made in read_figures(tmp_path)["refinements"] if made["instance"] != "a#2"]
    assert len(discs) == 3 * 4
    assert min(max(ious) for ious in discs) > 0.8


def test_flips_are_printed_and_meant(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder, "--flips", "--band", "object", "--limit", 2)
    (_, row) = succeed(result)
    assert "mean over the four flips of image and truth" in result.stdout
    assert row[:3] == ["Discs", "2", "object"]
    figures = read_figures(tmp_path)
    assert [made["flip"] for made in figures["refinements"]] == ["none", "horizontal", "vertical", "both"] * 2
    failures = sum(max(made["ious"]) < 0.95 for made in figures["refinements"])
    assert figures["figures"]["object"]["failures"]["95"] == failures / 4


def test_run_again_it_goes_on(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "out" / "Discs_metrics.jsonl"
    arguments = ["--dataset", dataset_folder, "--band", "object"]
    succeed(evaluate(*arguments, "--limit", 2))
    assert len(journal.read_text().splitlines()) == 2
    table = succeed(evaluate(*arguments))
    made = journal.read_text()
    assert len(made.splitlines()) == 4
    assert succeed(evaluate(*arguments, "--jobs", 1)) == table
    assert journal.read_text() == made


class Interrupted:
    """A server at whose first click somebody presses Ctrl+C."""

    def segment(
        self, image: Image, clicks: Sequence[Click], box: Box | None = None, mask: Mask | None = None
    ) -> Segmentation:
        raise KeyboardInterrupt

    def status(self) -> EngineStatus:
        return EngineStatus("interrupted")


def test_ctrl_c_says_how_to_go_on(evaluate: Run, dataset_folder: Path) -> None:
    settings = dataclasses.replace(make_tool_settings(load_settings()), connect=lambda url: Interrupted())
    result = evaluate("--dataset", dataset_folder, "--server", "http://127.0.0.1:1", settings=settings)
    assert (result.exit_code, result.stdout) == (130, "stopped; run it again to go on\n")


@pytest.mark.parametrize("option", [["--restart"], ["--rule", "ritm"], ["--grid", "6"], ["--clicks", "1"]])
def test_another_setting_and_restart_make_it_again(
    evaluate: Run, dataset_folder: Path, tmp_path: Path, option: list[str]
) -> None:
    journal = tmp_path / "out" / "Discs_metrics.jsonl"
    arguments = ["--dataset", dataset_folder, "--limit", 1, "--band", "ignore"]
    succeed(evaluate(*arguments))
    before = journal.read_text().splitlines()
    succeed(evaluate(*arguments, *option))
    after = journal.read_text().splitlines()
    assert len(after) == (1 if option == ["--restart"] else 2)
    assert after[-1] not in before


def test_another_truth_is_another_dataset(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    succeed(evaluate("--dataset", dataset_folder, "--limit", 1, "--band", "object"))
    path = dataset_folder / "gt.json"
    path.write_text(path.read_text() + "\n")
    succeed(evaluate("--dataset", dataset_folder, "--limit", 1, "--band", "object"))
    assert len((tmp_path / "out" / "Discs_metrics.jsonl").read_text().splitlines()) == 2


def test_the_disk_cache_is_not_used(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    succeed(evaluate("--dataset", dataset_folder, "--limit", 1))
    assert not (tmp_path / "attention").exists()


def test_named_datasets_lie_below_the_folder(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    dataset_folder.rename(tmp_path / "coco" / "GrabCut")
    (_, row) = succeed(evaluate("--grabcut", "--folder", tmp_path, "--limit", 1, "--band", "object"))
    assert row[0] == "GrabCut"


def test_a_dataset_that_is_not_prepared(evaluate: Run, tmp_path: Path) -> None:
    error = evaluate("--davis", "--folder", tmp_path).exception
    assert isinstance(error, DatasetError)
    assert str(error) == f"{tmp_path / 'coco' / 'DAVIS'} holds no gt.json: make it with `m2n2 datasets prepare`"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "name a dataset: --grabcut, ..., or --dataset FOLDER"),
        (["--dataset", "a/Discs", "--dataset", "b/Discs"], "two datasets have the same name"),
        (
            ["--grabcut", "--server", "http://127.0.0.1:1", "--grid", "8"],
            "leave --backbone, --grid, --preset and --set out",
        ),
        (["--grabcut", "--rule", "none"], "'none' is not one of 'm2n2', 'ritm'"),
        (["--grabcut", "--box-clicks", "2"], "--box-clicks are those after a box: name --box too"),
        (["--grabcut", "--seed", "2"], "--seed is of --clicks-at inner-seeded"),
        (["--grabcut", "--compare", "paper", "--preset", "paper"], "leave --preset and --set out"),
        (["--grabcut", "--compare", "paper", "--server", "http://127.0.0.1:1"], "leave --compare and --features out"),
        (["--grabcut", "--compare", "paper", "--compare", "paper "], "a variant is there twice"),
        (["--grabcut", "--compare", "majority=1"], "the variant 'majority=1' begins with no preset"),
        (
            ["--grabcut", "--compare", "none"],
            "unknown preset 'none': use one of auto, paper, consensus, paper-consensus",
        ),
        (["--grabcut", "--compare", "paper correction.centring=x"], "correction.centring=x cannot be used"),
    ],
)
def test_options_that_cannot_be(evaluate: Run, options: list[str], expected: str) -> None:
    result = evaluate(*options)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.replace("│", " ").split())


def test_without_matplotlib_there_are_figures_only(
    evaluate: Run, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = evaluate("--dataset", dataset_folder, "--limit", 1)
    succeed(result)
    assert "no pictures: a plot needs matplotlib: pip install matplotlib" in result.stderr
    assert not list((tmp_path / "out").glob("*.png"))


# --- the contact sheet's cases


def test_cases_are_ranked_by_clicks_then_by_iou(make_refinement: MakeRefinement) -> None:
    ranked = [make_refinement(f"early {tenth}", (0.9 + tenth / 100,)) for tenth in range(9, -1, -1)]
    ranked += [make_refinement(f"late {tenth}", (0.1, 0.9 + tenth / 100)) for tenth in range(9, -1, -1)]
    found = choose_cases(ranked[::-1])
    assert [case.instance for case in found["best"]] == ["early 9", "early 8", "early 7", "early 6"]
    assert [case.instance for case in found["median"]] == ["early 1", "early 0", "late 9", "late 8"]
    assert [case.instance for case in found["worst"]] == ["late 3", "late 2", "late 1", "late 0"]


@pytest.mark.parametrize(
    ("count", "groups"),
    [
        (1, {"best": 1}),
        (5, {"best": 4, "worst": 1}),
        (9, {"best": 4, "median": 1, "worst": 4}),
        (30, {"best": 4, "median": 4, "worst": 4}),
    ],
)
def test_no_case_is_shown_twice(count: int, groups: dict[str, int], make_refinement: MakeRefinement) -> None:
    found = choose_cases([make_refinement(str(number), (number / 100,)) for number in range(count)])
    assert {name: len(cases) for name, cases in found.items()} == groups
    shown = [case.instance for cases in found.values() for case in cases]
    assert len(set(shown)) == len(shown)
