"""The product as it is installed: a wheel, away from the checkout, in a folder that holds nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGES = ("backend", "m2n2_engine")
# What the Dockerfile copies, too.
SOURCES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", *PACKAGES)
TINY = {"M2N2_BACKBONE": "tiny", "M2N2_GRID": "8", "M2N2_THREADS": "1"}


def run_pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for setuptools writes into the folder that it builds from."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    run_pip("wheel", folder, "--no-build-isolation", "--wheel-dir", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environ(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that finds the wheel's packages before those of the checkout."""
    folder = tmp_path_factory.mktemp("site")
    run_pip("install", wheel, "--target", folder)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("M2N2_", "LABEL_STUDIO_"))}
    return {**own, **TINY, "PYTHONPATH": str(folder), "HOME": str(tmp_path_factory.mktemp("home"))}


def test_it_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    expected = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert held == expected
    assert {"backend/guide/GUIDE.md", "backend/http/gunicorn_conf.py", "m2n2_engine/py.typed"} <= held
    assert [name for name in held if name.endswith(".jpg")]


def test_its_command_starts_a_server_that_answers_a_click(environ: dict[str, str], tmp_path: Path) -> None:
    program = Path(environ["PYTHONPATH"]) / "bin" / "m2n2"
    load = ["--annotators", "1", "--images", "1", "--clicks", "1", "--size", "64x48"]
    done = subprocess.run(
        [program, "benchmark", "serve", *load, "--json", "figures.json"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "figures.json").read_text())["seconds"]["a click"]["answers"] == 1


def test_the_packages_of_the_server_are_the_wheel_s(environ: dict[str, str], tmp_path: Path) -> None:
    program = "import backend.wsgi, m2n2_engine; print(backend.__file__, m2n2_engine.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    folder = environ["PYTHONPATH"]
    assert done.stdout.split() == [f"{folder}/{package}/__init__.py" for package in PACKAGES]
