"""The product as it is installed: a wheel, away from the checkout, in a folder that holds nothing of it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from backend.tools.load import draw_body, draw_uris
from backend.tools.local_server import find_port
from m2n2_engine import __version__
from tests.helpers.paths import ROOT
from tests.helpers.sources import PACKAGES, copy_sources

START_SECONDS = 120
TINY = {"M2N2_BACKBONE": "tiny", "M2N2_GRID": "8", "M2N2_THREADS": "1"}


def run_pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder)
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


class Terminal:
    """`m2n2 serve` of the wheel, its standard error a terminal, in a folder whose packages have the names of ours."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        for name in (*PACKAGES, "flask", "gunicorn"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text("raise RuntimeError('a package of another project')")
        self.url = f"http://127.0.0.1:{find_port()}"
        ours, theirs = pty.openpty()
        self._screen = ours
        self._shown = ""
        command = [Path(environ["PYTHONPATH"]) / "bin" / "m2n2", "serve", "--port", self.url.rpartition(":")[2]]
        self.process = subprocess.Popen(command, env=environ, cwd=folder, stderr=theirs)
        os.close(theirs)

    def read_until(self, text: str) -> str:
        """What is shown until a text is among it, or until the program ends."""
        while text not in self._shown:
            readable, _, _ = select.select([self._screen], [], [], START_SECONDS)
            assert readable, self._shown
            try:
                self._shown += os.read(self._screen, 4096).decode().replace("\r", "")
            except OSError:  # what Linux says where nobody writes any more
                break
        return self._shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


@pytest.fixture
def terminal(environ: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    shown = Terminal({**environ, "M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention")}, tmp_path)
    yield shown
    shown.close()


def test_serve_tells_a_person_what_happens_answers_a_click_and_ends(terminal: Terminal) -> None:
    shown = terminal.read_until(f"{terminal.url}/guide\n")
    phases, _, greeting = shown.partition("\n\n")
    assert [re.sub(r"^\d\d:\d\d:\d\d |[\d.]+ s$", "", line) for line in phases.splitlines()] == [
        f"M2N2 {__version__} starts at {terminal.url}",
        "importing torch, which takes some seconds",
        "loading backbone tiny on cpu: asked for; preset paper",
        "backbone tiny loaded after ",
        "compiling kernels: a minute at the first start, some seconds at later ones",
        "kernels ready after ",
    ]
    address, advice, guide = greeting.strip().splitlines()
    assert address.startswith(f"M2N2 is ready at {terminal.url} (tiny on cpu, after ")
    assert advice.startswith(f"Try next:  open {terminal.url} ")
    assert guide == f"Guide:     {terminal.url}/guide"
    image = draw_uris(1, (48, 64))[0]
    answer = requests.post(f"{terminal.url}/predict", json=draw_body(0, 1, (48, 64), image), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["result"], answer.text
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.read_until("M2N2 has stopped\n").endswith("M2N2 has stopped\n")
    assert terminal.process.wait(60) == 0


def test_the_packages_of_the_server_are_the_wheel_s(environ: dict[str, str], tmp_path: Path) -> None:
    program = "import backend.wsgi, m2n2_engine; print(backend.__file__, m2n2_engine.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    folder = environ["PYTHONPATH"]
    assert done.stdout.split() == [f"{folder}/{package}/__init__.py" for package in PACKAGES]
