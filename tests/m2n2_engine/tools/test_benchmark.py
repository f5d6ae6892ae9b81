"""``m2n2 benchmark``: every row is there, the verdicts follow the figures, and the files hold what was printed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from backend.cli.main import app
from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools.benchmark import targets
from m2n2_engine.tools.benchmark.images import make_images
from m2n2_engine.tools.benchmark.markdown import render_table, replace_section
from m2n2_engine.tools.benchmark.steps import Comparison
from m2n2_engine.tools.benchmark.tiers import Opening, Rotation, TierFigures
from m2n2_engine.tools.benchmark.timing import ENOUGH_SECONDS, Samples, time_in_turn
from m2n2_engine.tools.benchmark.verdicts import Target, Verdict
from m2n2_engine.types import Tier

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ["--grid", "6", "--clicks", "2", "--repeats", "1", "--sizes", "24x16,36x24"]
TIMED = ["preparation", "restore from disk", "restore from host", "found on device"]
CLICKS = ["first click", "next click", "2 clicks", "a new click"]


@pytest.fixture(autouse=True)
def tiny_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("M2N2_"):
            monkeypatch.delenv(name)
    for name, value in {"BACKBONE": "tiny", "CACHE_FOLDER": str(tmp_path / "cache"), "OFFLINE": "true"}.items():
        monkeypatch.setenv(f"M2N2_{name}", value)


@pytest.fixture
def benchmark(tmp_path: Path) -> Callable[..., Result]:
    """Run the command on small images; the JSON goes to ``figures.json`` of the test's folder."""
    file = tmp_path / "figures.json"
    return lambda *options: CliRunner().invoke(app, ["benchmark", *SMALL, "--json", str(file), *map(str, options)])


def succeed(result: Result) -> str:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def read(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "figures.json").read_text())


def test_every_row_is_printed_and_written(benchmark: Callable[..., Result], tmp_path: Path) -> None:
    markdown = tmp_path / "BENCHMARKS.md"
    printed = succeed(benchmark("--markdown", markdown))
    figures = read(tmp_path)
    run = figures["run"]
    assert {"date", "command", "processor", "torch", "python"} < set(run)
    assert (run["threads"], run["repeats"], run["clicks"]) == (1, 1, 2)
    (report,) = figures["backbones"]
    assert (report["backbone"], report["grid"], report["device"]) == ("tiny", "6x6", "cpu")
    assert report["peak_resident_bytes"] > 2**20
    assert report["sizes"][0]["peak_device_bytes"] is None
    for size, megapixels in zip(report["sizes"], (24 * 16 / 1e6, 36 * 24 / 1e6), strict=True):
        assert size["megapixels"] == megapixels
        assert list(size["seconds"]) == [*TIMED, *CLICKS, "a new click, direct form"]
        assert all(0 < found["median"] <= found["p95"] for found in size["seconds"].values())
        assert len(size["clicks"]) == 2
        assert set(size["bytes"]) == set(Tier) - {Tier.NETWORK}
        assert size["bytes"]["device"] > 36 * 36 * 4
        assert size["bytes"]["host"] < size["bytes"]["disk"] < size["bytes"]["host"] + 2048
    assert sorted({step["what"][0] for step in report["steps"]}) == ["1", "2", "3", "4", "5", "6"]
    fill = next(step for step in report["steps"] if step["what"] == "5 flood fill")
    assert fill["ratio"] == pytest.approx(fill["direct_seconds"]["median"] / fill["seconds"]["median"])
    assert {target["verdict"] for target in report["targets"]} <= set(Verdict)
    text = markdown.read_text()
    for row in (*TIMED, *CLICKS, *(step["what"] for step in report["steps"])):
        assert row in printed
        assert f"| {row} |" in text
    for target in report["targets"]:
        assert target["promise"] in printed
        assert f"| {target['promise']} |" in text
    assert run["date"] in text


def test_the_direct_forms_can_be_left_out(benchmark: Callable[..., Result], tmp_path: Path) -> None:
    succeed(benchmark("--no-direct"))
    (report,) = read(tmp_path)["backbones"]
    assert report["steps"] == []
    assert not any("direct" in name for size in report["sizes"] for name in size["seconds"])
    assert report["targets"][0]["verdict"] == "not measured"


def test_grids_are_measured_one_after_the_other(benchmark: Callable[..., Result], tmp_path: Path) -> None:
    succeed(benchmark("--no-direct", "--grid", 5))
    assert [report["grid"] for report in read(tmp_path)["backbones"]] == ["6x6", "5x5"]


def test_a_picture_is_drawn(benchmark: Callable[..., Result], tmp_path: Path) -> None:
    markdown = tmp_path / "docs" / "BENCHMARKS.md"
    succeed(benchmark("--no-direct", "--plot", "--markdown", markdown))
    assert cv2.imread(str(tmp_path / "figures.png")).std() > 10
    assert "](../figures.png)" in markdown.read_text()


@pytest.mark.parametrize("size", ["64", "64x", "axb", "0x48", "64x-1", "1x2x3"])
def test_a_size_is_width_and_height(benchmark: Callable[..., Result], size: str) -> None:
    error = benchmark("--sizes", f"24x16,{size}").exception
    assert isinstance(error, M2N2Error)
    assert str(error) == f"{size!r} is no size: write WxH in pixels, for example 640x480"


def test_figures_that_cannot_be_written(benchmark: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "figures.json").mkdir()
    error = benchmark().exception
    assert isinstance(error, M2N2Error)
    assert str(error) == f"{tmp_path / 'figures.json'} cannot be written: Is a directory"


def test_a_photograph_is_brought_to_each_size(benchmark: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "photograph.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    succeed(benchmark("--no-direct", "--image", file))
    assert [size["size"] for size in read(tmp_path)["backbones"][0]["sizes"]] == ["24x16", "36x24"]


def test_images_differ() -> None:
    images = make_images(None, (48, 32), 8)
    assert {image.shape for image in images} == {(32, 48, 3)}
    assert len({image.tobytes() for image in images}) == 8


# --- targets


def sample(*seconds: float) -> Samples:
    return Samples(seconds)


@pytest.mark.parametrize(
    ("measured", "bound", "is_ceiling", "verdict"),
    [
        (10.0, 10.0, False, Verdict.MET),
        (9.9, 10.0, False, Verdict.MISSED),
        (1.0, 1.0, True, Verdict.MET),
        (1.1, 1.0, True, Verdict.MISSED),
        (None, 1.0, True, Verdict.NOT_MEASURED),
    ],
)
def test_a_verdict_follows_its_bound(measured: float | None, bound: float, is_ceiling: bool, verdict: Verdict) -> None:
    assert Target("promise", measured, bound, is_ceiling).verdict == verdict


def test_ratios_are_of_medians() -> None:
    found = {Tier.NETWORK: sample(8, 9, 100), Tier.HOST: sample(1, 0.9, 1.1), Tier.DISK: sample(2)}
    figures = TierFigures(found, (sample(1, 1, 9), sample(2), sample(5)), sample(8), {})
    host, disk = targets.compare_tiers(figures)
    assert (host.measured, host.bound, host.verdict) == (9, 8, Verdict.MET)
    assert (disk.measured, disk.bound, disk.verdict) == (4.5, 5, Verdict.MISSED)
    assert figures.next_click.seconds == (2, 5)


def test_what_was_not_found_at_a_level_is_not_measured() -> None:
    figures = TierFigures({Tier.NETWORK: sample(8)}, (sample(1), sample(1)), sample(2), {})
    assert [target.verdict for target in targets.compare_tiers(figures)] == [Verdict.NOT_MEASURED] * 2


def test_the_first_click_against_the_second() -> None:
    opening = Opening(sample(4, 4, 9), sample(2, 2, 1))
    alone, voted = targets.compare_opening(opening, 1), targets.compare_opening(opening, 9)
    assert (alone.measured, alone.bound, alone.verdict) == (2, 1.1, Verdict.MISSED)
    assert (voted.measured, voted.bound, voted.verdict) == (2, 3, Verdict.MET)


def test_a_first_click_that_votes_is_measured_with_and_without_its_vote(
    benchmark: Callable[..., Result], tmp_path: Path
) -> None:
    succeed(benchmark("--no-direct", "--preset", "paper-consensus", "--sizes", "24x16"))
    (report,) = read(tmp_path)["backbones"]
    openings = [target for target in report["targets"] if target["promise"].startswith("first click of")]
    assert [(target["promise"].partition(" against")[0], target["bound"]) for target in openings] == [
        ("first click of 1 map", 1.1),
        ("first click of 9 maps", 3),
    ]
    assert all(target["measured"] > 0 for target in openings)


def test_rotation() -> None:
    assert targets.compare_rotation(Rotation(sample(0.1, 0.2, 0.3), sample(3, 4))).measured == 17.5


def test_stable_diffusion_keeps_little(tmp_path: Path) -> None:
    host, disk = targets.compare_bytes(tmp_path)
    assert host.measured == (2 * 2 * 5 * 16384 * 64 * 2 + 2 * 16384 * 4) / (16384**2 * 4)
    assert disk.measured is not None
    assert host.measured < disk.measured < host.measured * 1.001
    assert (host.verdict, disk.verdict) == (Verdict.MET, Verdict.MET)


def test_an_accelerator_is_held_to_its_bounds() -> None:
    figures = TierFigures({Tier.NETWORK: sample(0.05)}, (sample(0.01), sample(0.009)), sample(0.08), {}, 3_000_000_000)
    preparation, click, memory = targets.bound_large_network(figures)
    assert [preparation.verdict, click.verdict, memory.verdict] == [Verdict.MET, Verdict.MISSED, Verdict.MET]
    assert {target.verdict for target in targets.bound_large_network(None)} == {Verdict.NOT_MEASURED}
    assert targets.bound_small_network(figures).verdict is Verdict.MISSED
    assert targets.bound_small_network(None).verdict is Verdict.NOT_MEASURED


def test_the_network_in_16_bits_is_held_to_its_bound() -> None:
    plain = Comparison("1 network", sample(1))
    beside = Comparison("1 network in bfloat16, beside 32 bits", sample(2), sample(3))
    assert targets.compare_precision([plain, beside]).measured == 1.5
    assert targets.compare_precision([plain]).verdict is Verdict.NOT_MEASURED


# --- the parts


def test_sides_are_timed_in_turn_and_slow_ones_less_often() -> None:
    now, order = [0.0], []

    def form(name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            order.append(name)
            now[0] += seconds

        return call

    fast, slow = time_in_turn([form("fast", 1), form("slow", ENOUGH_SECONDS)], 3, "cpu", lambda: now[0])
    assert order == ["fast", "slow", "fast", "fast"]
    assert (fast.seconds, slow.seconds) == ((1, 1, 1), (ENOUGH_SECONDS,))


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "BENCHMARKS.md"
    replace_section(path, "one", "first")
    replace_section(path, "two", "second")
    replace_section(path, "one", r"third \1")
    assert path.read_text() == (
        "# Benchmarks\n\n<!-- one -->\nthird \\1\n<!-- /one -->\n\n<!-- two -->\nsecond\n<!-- /two -->\n"
    )


def test_a_table_in_markdown() -> None:
    assert render_table(["a", "b"], [["1", "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
