"""``m2n2 benchmark published``: our rows are those of the files, and every row has its device and source."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.tools.benchmark.published import PUBLISHED
from m2n2_engine.errors import ConfigurationError
from tests.helpers.paths import ROOT

RUN = {"date": "2026-11-28 12:00 UTC", "processor": "A processor", "threads": 2}
ENGINE = {
    "run": RUN,
    "backbones": [
        {
            "backbone": "tiny",
            "grid": "8x8",
            "preset": "paper",
            "device": device,
            "sizes": [
                {"size": size, "seconds": {"preparation": {"median": 1.25}, "next click": {"median": click}}}
                for size, click in (("640x480", 0.0625), ("64x48", 0.5))
            ],
        }
        for device in ("cpu", "NVIDIA H200")
    ],
}
SERVER = {
    "run": {**RUN, "backbone": "tiny", "annotators": 4, "size": "640x480", "device": "cpu"},
    "seconds": {"a click": {"median": 0.25, "p95": 0.5, "p99": 1.5}},
}


def run(*words):
    return CliRunner().invoke(app, ["benchmark", "published", *map(str, words)])


@pytest.fixture
def write(tmp_path):
    """Write a file of figures; its path."""

    def write_file(name, figures):
        path = tmp_path / name
        path.write_text(json.dumps(figures))
        return path

    return write_file


def test_our_rows_come_from_the_files(write, tmp_path):
    markdown = tmp_path / "BENCHMARKS.md"
    result = run(write("engine.json", ENGINE), write("server.json", SERVER), "--markdown", markdown)
    assert result.exit_code == 0, repr(result.exception)
    text = markdown.read_text()
    device, date = "A processor, 2 threads", RUN["date"]
    engine = f"| M2N2, tiny, grid 8x8, paper | {device} | 640x480 | 1.250 | 0.062 |  | engine.json, {date} |"
    server = f"| M2N2 as a server, tiny, 4 annotators | {device} | 640x480 |  |  | 0.250 (p95 0.500, p99 1.500) |"
    assert engine in text
    assert engine.replace(device, "NVIDIA H200") in text
    assert f"{server} server.json, {date} |" in text
    assert "64x48" not in text
    for row in PUBLISHED:
        assert f"| {row.what} | {row.device} |" in text
        assert row.source in result.stdout


def test_every_published_row_has_a_device_a_source_and_a_figure():
    assert all(row.device and row.source and (row.encode or row.answer) for row in PUBLISHED)


def test_other_sizes_are_named(write):
    path = write("engine.json", ENGINE)
    assert run(path, "--sizes", "64x48").exit_code == 0
    error = run(path, "--sizes", "1x1").exception
    assert isinstance(error, ConfigurationError)
    assert str(error) == f"{path} has none of the sizes 1x1, but 640x480, 64x48, 640x480, 64x48: name them by --sizes"


@pytest.mark.parametrize("content", ["", "[]", "3", '{"backbones": 3}', '{"run": {}}', '{"seconds": {"a click": 3}}'])
def test_a_file_of_another_kind(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    error = run(path).exception
    assert isinstance(error, ConfigurationError)
    assert str(error).startswith(f"{path} has no figures of m2n2 benchmark")


def test_a_file_that_is_not_there(tmp_path):
    error = run(tmp_path / "none.json").exception
    assert isinstance(error, ConfigurationError)
    assert str(error) == f"{tmp_path / 'none.json'} cannot be read: No such file or directory"


def test_the_page_has_the_rows_of_its_own_files(tmp_path):
    folder = ROOT / "docs" / "results" / "benchmarks"
    markdown = tmp_path / "BENCHMARKS.md"
    names = ("engine", "server", "h200", "h200_dinov2", "h200_server")
    assert run(*(folder / f"{name}.json" for name in names), "--markdown", markdown).exit_code == 0
    section = markdown.read_text().partition("<!-- published -->")[2]
    remedy = "run the last command of `make benchmark`, which measures nothing: the page has rows of older files"
    assert section.strip() in (folder.parent / "benchmarks.md").read_text(), remedy
