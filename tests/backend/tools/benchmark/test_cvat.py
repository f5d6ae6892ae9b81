"""``m2n2 benchmark cvat``: every figure of two small frames."""

from __future__ import annotations

import json
import re

import numpy as np
from typer.testing import CliRunner

from backend.cli.main import app
from backend.cvat.answer import render_mask
from backend.tools.benchmark.cvat import AnswerFigures, draw_mask


def test_the_figures_are_printed_and_written(tmp_path):
    files = {"--json": tmp_path / "cvat.json", "--markdown": tmp_path / "BENCHMARKS.md"}
    options = [str(word) for pair in files.items() for word in pair]
    result = CliRunner().invoke(app, ["benchmark", "cvat", "--sizes", "64x48,40x30", "--repeats", "1", *options])
    assert result.exit_code == 0, result.output
    answers = json.loads(files["--json"].read_text())["answers"]
    assert [found["size"] for found in answers] == ["64x48", "40x30"]
    assert all(value > 0 for found in answers for name, value in found.items() if name != "size")
    assert answers[0]["mask_bytes"] == len(render_mask(draw_mask((48, 64))))
    for text in (result.output, files["--markdown"].read_text()):
        assert "| 64x48 |" in text
        assert re.search(r"^Target, mask at least 10 times faster: (met|missed)\.$", text, re.MULTILINE)


def test_known_figures():
    assert AnswerFigures("1x1", 0.5, 1, 1, 20.0, 1, 1, 1).times_faster == 40


def test_the_mask_is_neither_empty_nor_full():
    assert 0.1 < np.mean(draw_mask((480, 640))) < 0.9
