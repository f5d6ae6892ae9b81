"""``m2n2 benchmark formats``: each format is read and written by the product's own code, and its bytes are counted."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.label_studio import brush_rle
from backend.tools.benchmark.cvat import draw_mask
from backend.tools.benchmark.formats import write_image
from m2n2_engine.errors import M2N2Error
from m2n2_engine.image_file import decode_image
from m2n2_engine.tools.benchmark.images import draw_synthetic_image

READ = [
    f"decode {name}, {how}" for name in ("JPEG", "PNG", "WebP") for how in ("in this process", "as the server does")
]
WRITTEN = [
    "encode brush RLE, for Label Studio",
    "encode PNG in a data URL, for Label Studio",
    "encode COCO's RLE, for files",
]


def run(tmp_path, *options):
    files = ["--json", str(tmp_path / "formats.json"), "--markdown", str(tmp_path / "BENCHMARKS.md")]
    return CliRunner().invoke(app, ["benchmark", "formats", "--repeats", "2", *files, *options])


def test_every_format_is_timed(tmp_path):
    result = run(tmp_path, "--size", "64x48")
    assert result.exit_code == 0, repr(result.exception)
    figures = json.loads((tmp_path / "formats.json").read_text())
    found = {each["what"]: each for each in figures["formats"]}
    assert list(found) == [*READ, *WRITTEN]
    assert all(0 < each["median"] <= each["longest"] for each in found.values())
    assert found["decode PNG, as the server does"]["nbytes"] > found["decode WebP, as the server does"]["nbytes"]
    assert found[WRITTEN[0]]["nbytes"] == len(brush_rle.encode(draw_mask((48, 64))))
    assert (figures["run"]["size"], figures["run"]["repeats"]) == ("64x48", 2)
    for text in (result.stdout, (tmp_path / "BENCHMARKS.md").read_text()):
        for what in found:
            assert what in text


@pytest.mark.parametrize(("name", "largest"), [("PNG", 0), ("JPEG", 12), ("WebP", 12)])
def test_the_files_hold_the_image(name, largest):
    image = draw_synthetic_image(64, 48)
    pixels = decode_image(write_image(image, name))
    assert abs(pixels.astype(int) - image).mean() <= largest


def test_a_size_that_is_none(tmp_path):
    error = run(tmp_path, "--size", "large").exception
    assert isinstance(error, M2N2Error)
    assert "'large' is no size" in str(error)
