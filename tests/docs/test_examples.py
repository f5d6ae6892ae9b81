"""What the documents say to type does what they say: the blocks that are marked as run are run, in a fresh folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from m2n2_engine.config import WeightsConfig

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"^<!-- this block is run by the tests -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def find_block(document: str, language: str) -> str:
    """The one marked block of a document in that language."""
    (block,) = [code for name, code in MARKED.findall((ROOT / document).read_text("utf-8")) if name == language]
    return block


@pytest.fixture
def run(tmp_path: Path, embedded_weights: WeightsConfig):
    """Runs a program in a folder that holds examples/ and nothing else, with ``m2n2`` on the path, as a clone whose
    environment is active has it; returns what it printed."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["m2n2"]
    module, function = entry.split(":")
    script = tmp_path / "bin" / "m2n2"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("M2N2_")} | {
        "PATH": f"{script.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "M2N2_CACHE_FOLDER": str(embedded_weights.cache_folder),
        "M2N2_DISK_CACHE_MIB": "0",
        "M2N2_DEVICE": "cpu",
        "M2N2_OFFLINE": "true",
    }

    def run(*command: str) -> str:
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def differ(drawn: Path, shown: Path) -> float:
    """Mean difference of two pictures of one size, 0 to 255; JPEG alone makes about 1."""
    first, second = (cv2.imread(str(path)).astype(np.float32) for path in (drawn, shown))
    assert first.shape == second.shape
    return float(np.abs(first - second).mean())


def test_the_readme_s_command_draws_its_picture_and_its_library_gives_the_same_mask(run, tmp_path: Path) -> None:
    run("bash", "-e", "-c", find_block("README.md", "bash"))
    assert differ(tmp_path / "overlay.png", ROOT / "examples" / "astronaut_overlay.jpg") < 2
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_GRAYSCALE)
    pixels, score = run(sys.executable, "-c", find_block("README.md", "python")).split()
    assert int(pixels) == np.count_nonzero(mask)
    assert 0 < float(score) <= 1


def test_the_method_s_command_draws_its_picture(run, tmp_path: Path) -> None:
    run("bash", "-e", "-c", find_block("docs/method/README.md", "bash"))
    assert differ(tmp_path / "map.png", ROOT / "examples" / "markov_map.jpg") < 2
