"""``m2n2 evaluate --compare``: variants in one table, on the same features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m2n2_engine.errors import ConfigurationError
from tests.helpers.evaluation import Run, read_figures, succeed

pytestmark = pytest.mark.usefixtures("one_thread")


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
    alone = read_figures(tmp_path)
    succeed(evaluate(*arguments, "--compare", "consensus", "--compare", "paper arrival_level=0.5"))
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())["variants"]
    assert written[1]["figures"] == alone["figures"]
    assert written[0]["figures"] != alone["figures"]


def test_a_folder_for_features_that_cannot_be_used(evaluate: Run, dataset_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    error = evaluate("--dataset", dataset_folder, "--features", tmp_path / "taken" / "folder").exception
    assert isinstance(error, ConfigurationError)
    assert str(error).endswith("cannot be used: Not a directory; choose another --features")
