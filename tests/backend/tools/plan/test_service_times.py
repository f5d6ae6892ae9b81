from __future__ import annotations

import json
import random
import statistics
from pathlib import Path

import numpy as np
import pytest

from backend.tools.plan.service_times import Measured, Part, ServiceTimes, Summary, read_service_times
from m2n2_engine.errors import ConfigurationError

BENCHMARK = Path(__file__).parents[4] / "docs" / "results" / "benchmarks" / "engine.json"
HAND_OVER = {"seconds": {"hand-over": {"source": "a cluster", "values": [0.01]}}}


def test_a_summary_is_drawn_with_its_median_and_its_p95():
    summary = Summary(source="", median=0.5, p95=1.5)
    rng = random.Random(1)
    drawn = [summary.draw(rng) for _ in range(20_000)]
    assert np.percentile(drawn, [50, 95]) == pytest.approx([0.5, 1.5], rel=0.03)
    assert statistics.fmean(drawn) == pytest.approx(summary.mean, rel=0.03)


def test_of_what_was_measured_each_value_is_drawn_as_often():
    measured = Measured(source="", values=(1.0, 1.0, 4.0))
    rng = random.Random(1)
    drawn = [measured.draw(rng) for _ in range(3000)]
    assert set(drawn) == {1.0, 4.0}
    assert statistics.fmean(drawn) == pytest.approx(measured.mean, rel=0.03)


def test_a_later_file_stands_in_place_of_an_earlier_one(write, times):
    whole = write(times.model_dump(mode="json"), "whole.json")
    assert read_service_times([whole]) == times
    both = read_service_times([whole, write(HAND_OVER, "other.json")])
    assert both.seconds[Part.HAND_OVER] == Measured(source="a cluster", values=(0.01,))
    assert both.seconds[Part.HOST] == times.seconds[Part.HOST]
    assert both.machine == times.machine


def test_a_benchmark_has_all_but_the_hand_over(write):
    read = read_service_times([BENCHMARK, write(HAND_OVER)], "640x480")
    preparation = read.seconds[Part.PREPARATION]
    assert isinstance(preparation, Summary)
    assert 0.1 < preparation.median < 10
    assert "m2n2 benchmark" in preparation.source
    preset = json.loads(BENCHMARK.read_text())["backbones"][0]["preset"]
    assert read.machine.endswith(f"dinov2-small, grid 48x48, {preset}, 640x480")
    assert read.bytes.device > read.bytes.host > 0
    with pytest.raises(ConfigurationError, match=r"engine.json: no times of hand-over: add a file with them$"):
        read_service_times([BENCHMARK])
    with pytest.raises(ConfigurationError, match=r"has no images of 1x1: it has 481x321, 640x480"):
        read_service_times([BENCHMARK], "1x1")


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([], "should be an object"),
        ({"bytes": {}}, "no times of preparation"),
    ],
)
def test_a_file_that_is_none_is_named(write, figures, message):
    with pytest.raises(ConfigurationError, match=rf"times\.json: .*{message}"):
        read_service_times([write(figures)])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"missing\.json cannot be read as JSON"):
        read_service_times([tmp_path / "missing.json"])


@pytest.mark.parametrize(
    ("duration", "message"),
    [
        ({"source": "x", "median": 2, "p95": 1}, "p95 should not be below the median"),
        ({"source": "x", "values": []}, "at least 1 item"),
        ({"source": "x", "values": [0]}, "greater than 0"),
        ({"values": [1]}, "Field required"),
    ],
)
def test_a_time_that_cannot_be_is_named(write, times: ServiceTimes, duration, message):
    figures = times.model_dump(mode="json")
    figures["seconds"]["first click"] = duration
    with pytest.raises(ConfigurationError, match=rf"seconds\.first click.*{message}"):
        read_service_times([write(figures)])
