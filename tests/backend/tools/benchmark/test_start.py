"""``m2n2 benchmark start``: real servers and commands with the tiny network."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.tools.benchmark.start import (
    CALL,
    CALL_PROCESSOR,
    READY,
    WORK_PROCESSOR,
    CallFailed,
    bound_starts,
    time_call,
)


def run(tmp_path, *options):
    files = ["--json", str(tmp_path / "start.json"), "--markdown", str(tmp_path / "BENCHMARKS.md")]
    return CliRunner().invoke(app, ["benchmark", "start", "--size", "32x24", "--repeats", "1", *files, *options])


def test_starts_and_calls_are_timed(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 0, repr(result.exception)
    figures = json.loads((tmp_path / "start.json").read_text())
    seconds = figures["seconds"]
    assert list(seconds) == [READY, CALL, CALL_PROCESSOR, WORK_PROCESSOR]
    assert all(found["samples"] == 1 and found["median"] > 0 for found in seconds.values())
    assert seconds[WORK_PROCESSOR]["median"] < seconds[CALL_PROCESSOR]["median"]
    assert (figures["run"]["backbone"], figures["run"]["device"]) == ("tiny", "cpu")
    beside, cold = figures["targets"]
    assert beside["measured"] == pytest.approx(seconds[CALL_PROCESSOR]["median"] - seconds[WORK_PROCESSOR]["median"])
    assert cold["verdict"] == "not measured"
    for text in (result.stdout, (tmp_path / "BENCHMARKS.md").read_text()):
        for what in (READY, CALL_PROCESSOR, beside["promise"], cold["promise"]):
            assert what in text


def test_a_call_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("M2N2_BACKBONE", "none")
    with pytest.raises(CallFailed, match=r"^m2n2 segment ended with status 1: m2n2: unknown backbone 'none'"):
        time_call(tmp_path, np.zeros((24, 32, 3), np.uint8), 0)


def test_a_gpus_start_is_held_to_its_bound():
    names = (READY, CALL, CALL_PROCESSOR, WORK_PROCESSOR)
    figures = {
        "run": {"device": "cuda:0", "backbone": "stable-diffusion-2"},
        "seconds": {name: {"median": seconds} for name, seconds in zip(names, (26.0, 5.0, 6.0, 4.5), strict=True)},
    }
    beside, cold = bound_starts(figures)
    assert (beside.measured, beside.verdict) == (1.5, "met")
    assert (cold.measured, cold.verdict) == (26, "missed")
