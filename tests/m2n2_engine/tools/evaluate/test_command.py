"""``m2n2 evaluate``: what it prints and leaves behind, and one clear line for what a person got wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import Result
from typer.testing import CliRunner

from backend.cli.main import app, make_tool_settings
from backend.settings import load_settings
from m2n2_engine.errors import ConfigurationError, DatasetError
from m2n2_engine.tools.evaluate.pictures.contact_sheet import choose_cases
from m2n2_engine.tools.evaluate.refinement import Refinement
from m2n2_engine.types import Box, Click, EngineStatus, Image, Segmentation

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., Result]
MakeRefinement = Callable[..., Refinement]


@pytest.fixture(autouse=True)
def tiny_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("M2N2_"):
            monkeypatch.delenv(name)
    settings = {"BACKBONE": "tiny", "GRID": "8", "DISK_CACHE_FOLDER": str(tmp_path / "attention"), "THREADS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"M2N2_{name}", value)


@pytest.fixture
def evaluate(tmp_path: Path) -> Run:
    """Run the command; results go to ``out`` of the test's folder."""
    return lambda *options, settings=None: CliRunner().invoke(
        app, ["evaluate", "--clicks", "2", "--out", str(tmp_path / "out"), *map(str, options)], obj=settings
    )


def succeed(result: Result) -> list[list[str]]:
    """The cells of the first table, its heading first."""
    return read_tables(result)[0]


def read_tables(result: Result) -> list[list[list[str]]]:
    """The cells of each table, its heading first."""
    assert result.exit_code == 0, result.output + repr(result.exception)
    tables: list[list[list[str]]] = []
    before = ""
    for line in result.stdout.splitlines():
        if line.startswith("|") and not before.startswith("|"):
            tables.append([])
        if line.startswith("|") and "---" not in line:
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return tables


def read(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "out" / "Discs_metrics.json").read_text())


def test_the_table_and_the_files(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder)
    heading, *rows = succeed(result)
    assert heading[:6] == ["dataset", "objects", "unknown band", "NoC85", "NoC90", "NoC95"]
    assert [row[:3] for row in rows] == [["Discs", "4", "object"], ["Discs", "4", "ignore"]]
    figures = read(tmp_path)
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
    discs = [made["ious"] for made in read(tmp_path)["refinements"] if made["instance"] != "a#2"]
    assert len(discs) == 3 * 4
    assert min(max(ious) for ious in discs) > 0.8


def test_flips_are_printed_and_meant(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder, "--flips", "--band", "object", "--limit", 2)
    (_, row) = succeed(result)
    assert "mean over the four flips of image and truth" in result.stdout
    assert row[:3] == ["Discs", "2", "object"]
    figures = read(tmp_path)
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

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> Segmentation:
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
        (["--grabcut", "--compare", "centring=1"], "the variant 'centring=1' begins with no preset"),
        (["--grabcut", "--compare", "none"], "unknown preset 'none': use one of auto, paper, keys-and-colours"),
        (["--grabcut", "--compare", "paper centring=x"], "centring=x cannot be used"),
    ],
)
def test_options_that_cannot_be(evaluate: Run, options: list[str], expected: str) -> None:
    result = evaluate(*options)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.replace("│", " ").split())


# --- other annotators


def test_invariants_and_sizes_have_tables_of_their_own(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    result = evaluate("--dataset", dataset_folder, "--band", "object", "--jitter")
    _, (heading, row), (by_size, *rows) = read_tables(result)
    figures = read(tmp_path)
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
    found = read(tmp_path)["figures"]["ignore"]
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


# --- comparisons


def test_variants_in_one_table(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", dataset_folder, "--band", "object"]
    variants = ["paper", "paper  click_area_limit=0.1", "paper temperature=0.9"]
    features = tmp_path / "features"
    options = [*arguments, "--features", features, *(word for each in variants for word in ("--compare", each))]
    heading, *rows = succeed(evaluate(*options))
    assert heading[:5] == ["variant", "dataset", "unknown band", "NoC85", "NoC90"]
    assert heading[5:] == ["IoU 1", "F 1", "never 0.85", "invariants", "s a click"]
    assert [row[0] for row in rows] == ["paper", "paper click_area_limit=0.1", "paper temperature=0.9"]
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())["variants"]
    assert [each["variant"] for each in written] == [row[0] for row in rows]
    for row, each in zip(rows, written, strict=True):
        folder = tmp_path / "out" / row[0].replace(" ", "_")
        alone = json.loads((folder / "Discs_metrics.json").read_text())
        assert len((folder / "Discs_metrics.jsonl").read_text().splitlines()) == 4
        assert alone["figures"] == each["figures"]
        found = each["figures"]["object"]
        assert row[3:6] == [f"{found['noc']['85']:.2f}", f"{found['noc']['90']:.2f}", f"{found['mean_iou'][0]:.3f}"]
        assert row[8] == str(found["invariants"]["total"])
    assert rows[0][3:] != rows[1][3:]
    # Three images pass the network for each temperature, and a second run finds them.
    kept = {path.name: path.stat().st_ino for path in features.glob("*.safetensors")}
    assert len(kept) == 6
    journals = {path: path.read_text() for path in (tmp_path / "out").glob("*/*.jsonl")}
    assert succeed(evaluate(*options))[1:] == rows
    assert {path: path.read_text() for path in journals} == journals
    again = succeed(evaluate(*options, "--restart"))
    assert [row[:-1] for row in again[1:]] == [row[:-1] for row in rows]
    assert {path.name: path.stat().st_ino for path in features.glob("*.safetensors")} == kept


def test_a_comparison_gives_the_figures_of_a_run_alone(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", dataset_folder, "--band", "object"]
    succeed(evaluate(*arguments, "--preset", "paper", "--set", "arrival_level=0.5"))
    alone = read(tmp_path)
    succeed(evaluate(*arguments, "--compare", "keys-and-colours", "--compare", "paper arrival_level=0.5"))
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())["variants"]
    assert written[1]["figures"] == alone["figures"]
    assert written[0]["figures"] != alone["figures"]


def test_a_folder_for_features_that_cannot_be_used(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    error = evaluate("--dataset", dataset_folder, "--features", tmp_path / "taken" / "folder").exception
    assert isinstance(error, ConfigurationError)
    assert str(error).endswith("cannot be used: Not a directory; choose another --features")


def test_without_matplotlib_there_are_figures_only(
    evaluate: Run, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = evaluate("--dataset", dataset_folder, "--limit", 1)
    succeed(result)
    assert "no pictures: a plot needs matplotlib: pip install 'm2n2-annotation[research]'" in result.stderr
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
