"""``m2n2 plan``, with times of a few files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from backend.cli.main import app
from m2n2_engine.errors import ConfigurationError

BENCHMARK = Path(__file__).parents[3] / "docs" / "results" / "benchmarks" / "engine.json"


@pytest.fixture
def plan(tmp_path):
    """Run the command on the benchmark of a processor and a quick hand-over."""
    hand_over = tmp_path / "hand_over.json"
    hand_over.write_text(json.dumps({"seconds": {"hand-over": {"source": "made up", "values": [0.01]}}}))

    def run(*options):
        times = ["--times", str(hand_over), "--times", str(BENCHMARK), "--size", "640x480"]
        result = CliRunner().invoke(
            app, ["plan", *times, "--images", "2", "--json", str(tmp_path / "plan.json"), *options]
        )
        if isinstance(result.exception, ConfigurationError):
            raise result.exception
        return result

    return run


def test_the_plan_is_printed_written_and_drawn(plan, tmp_path):
    result = plan("--annotators", "2,20", "--p95", "3", "--plot")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "plan.json").read_text())
    few, many = figures["answers"]
    assert (few["annotators"], many["annotators"]) == (2, 20)
    assert few["replicas"] < many["replicas"]
    for answer in (few, many):
        assert answer["seconds"]["median"] < answer["seconds"]["p95"] <= 3
        assert sum(answer["found"].values()) == pytest.approx(1)
        assert answer["clicks"] == answer["annotators"] * 2 * 2 * 5
        assert str(answer["replicas"]) in result.output
    assert figures["sources"]["hand-over"] == "made up"
    preset = json.loads(BENCHMARK.read_text())["backbones"][0]["preset"]
    assert f"{preset}, 640x480" in result.output
    with PillowImage.open(tmp_path / "plan.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_the_budgets_are_those_of_the_servers_settings(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("M2N2_SESSION_CACHE_MIB", "1")
    monkeypatch.setenv("M2N2_HOST_CACHE_MIB", "0")
    monkeypatch.setenv("M2N2_RAY_IMAGES", "7")
    plan("--annotators", "4", "--p95", "10")
    figures = json.loads((tmp_path / "plan.json").read_text())
    assert (figures["session_bytes"], figures["host_bytes"], figures["images_kept"]) == (1 << 20, 0, 7)
    assert figures["answers"][0]["found"]["disk"] > 0.05


@pytest.mark.parametrize("annotators", ["", "0", "10,x"])
def test_numbers_of_annotators_that_are_none_are_refused(plan, annotators):
    result = plan("--annotators", annotators)
    assert result.exit_code == 2
    assert "should be numbers of annotators" in result.output
