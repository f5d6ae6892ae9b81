"""No server and no engine needs what only data sets, figures and plans need; a command that lacks it says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.helpers.paths import ROOT

OPTIONAL = ("matplotlib", "pycocotools", "simpy")
RECORDED = ROOT / "tests" / "data" / "label_studio" / "predict_interactive_1_points.json"
TINY = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "128", "M2N2_DISK_CACHE_MIB": "0"}

SERVER = """
import base64, io, json, sys
import backend.wsgi
from PIL import Image
from backend.app import create_app
from backend.engines.background import LoadedEngine
from backend.engines.load import load_warm
from backend.settings import load_settings

settings = load_settings()
client = create_app(settings, LoadedEngine(load_warm(settings.engine_config()))).test_client()
file = io.BytesIO()
Image.new("RGB", (640, 480), (10, 200, 30)).save(file, "PNG")
body = json.load(open(sys.argv[1]))["body"]
body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
answer = client.post("/predict", json=body)
assert answer.status_code == 200, answer.text
print(answer.json["results"][0]["result"][0]["type"])
"""

ENGINE = """
import numpy as np
from m2n2_engine import Click, load_engine
from m2n2_engine.config import EngineConfig

mask = load_engine(EngineConfig(backbone="tiny")).segment(np.zeros((48, 64, 3), np.uint8), [Click(20, 20)]).mask
print(mask.shape)
"""

COMMAND = """
from backend.cli.main import main
main()
"""


def run_without(packages: tuple[str, ...], program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A Python program in a process that lacks these packages."""
    lines = f"from tests.helpers.import_blocker import block\nblock(*{packages!r})\n{program}"
    return subprocess.run(
        [sys.executable, "-c", lines, *arguments],
        env={**os.environ, **TINY, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def own_images(tmp_path: Path) -> Path:
    """A data set of a user's own: one image, and its mask."""
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:40] = 255
    for folder, pixels in (("images", np.dstack([mask] * 3)), ("masks", mask)):
        (tmp_path / "own" / folder).mkdir(parents=True)
        PillowImage.fromarray(pixels).save(tmp_path / "own" / folder / "one.png")
    return tmp_path / "own"


def test_the_server_answers_a_click_without_them() -> None:
    done = run_without(OPTIONAL, SERVER, RECORDED)
    assert (done.returncode, done.stdout) == (0, "brushlabels\n"), done.stderr


def test_the_embedded_engine_answers_a_click_without_them() -> None:
    done = run_without(OPTIONAL, ENGINE)
    assert (done.returncode, done.stdout) == (0, "(48, 64)\n"), done.stderr


def test_the_command_line_segments_without_them(own_images: Path, tmp_path: Path) -> None:
    image = own_images / "images" / "one.png"
    done = run_without(OPTIONAL, COMMAND, "segment", image, "--point", "20,20", "-o", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mask.png").is_file()


@pytest.mark.parametrize(
    ("missing", "arguments", "expected"),
    [
        ("pycocotools", ["datasets", "prepare", "--grabcut"], "a data set needs pycocotools: pip install pycocotools"),
        ("pycocotools", ["evaluate", "--grabcut"], "a data set needs pycocotools: pip install pycocotools"),
        ("matplotlib", ["benchmark", "--plot"], "a plot needs matplotlib: pip install matplotlib"),
        ("matplotlib", ["plan", "--times", __file__, "--plot"], "a plot needs matplotlib: pip install matplotlib"),
        ("simpy", ["plan", "--times", __file__], "a plan needs SimPy: pip install simpy"),
    ],
)
def test_a_command_that_needs_one_says_in_one_line_what_to_install(
    tmp_path: Path, missing: str, arguments: list[str], expected: str
) -> None:
    program = f"import os\nos.chdir({str(tmp_path)!r})\n{COMMAND}"
    done = run_without((missing,), program, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"m2n2: {expected}\n")
    assert list(tmp_path.iterdir()) == []


def test_data_sets_and_evaluations_need_no_figures(own_images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "datasets"
    done = run_without(
        ("matplotlib", "simpy"),
        COMMAND,
        *("datasets", "prepare", "--name", "own", "--source", own_images, "--folder", folder),
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((folder / "coco" / "own" / "gt.json").read_text())["annotations"]) == 1
    out = tmp_path / "out"
    done = run_without(
        ("matplotlib", "simpy"),
        COMMAND,
        *("evaluate", "--dataset", folder / "coco" / "own", "--clicks", "1", "--out", out),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "no pictures: a plot needs matplotlib: pip install matplotlib\n"
    assert (out / "own_metrics.json").is_file()


def test_nothing_says_to_install_the_product_from_an_index_that_does_not_have_it() -> None:
    files = subprocess.run(["git", "ls-files", "*.md", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    told = "pip install 'm2n2-" + "annotation"  # in two parts, or this file would be found
    assert [name for name in files.stdout.split() if told in (ROOT / name).read_text(encoding="utf-8")] == []
