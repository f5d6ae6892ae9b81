"""The wheel in an environment of its own, with nothing else of this project: one command, and a click is answered."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import venv

import numpy as np
import pytest
import requests

from backend.label_studio import brush_rle
from backend.tools.local_server import find_port
from tests.helpers.image.container import BOX, HEIGHT, WIDTH
from tests.helpers.release import build
from tests.helpers.sources import copy_sources

READY_SECONDS = 600
CLICK_SECONDS = 120
STOP_SECONDS = 60


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh virtual environment with the wheel and what it asks for; gone afterwards, for it may be gigabytes."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("sources", "dist"):
        (folder / name).mkdir()
    copy_sources(folder / "sources")
    (wheel,) = build(folder / "sources", folder / "dist", "--wheel")
    venv.create(folder / "environment", with_pip=True)
    command = [folder / "environment" / "bin" / "python", "-m", "pip", "install", "--quiet", wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield folder / "environment"
    shutil.rmtree(folder)


@pytest.fixture
def server(environment, tmp_path):
    """`m2n2 serve` with a home that nobody has used, in a folder with another project's packages."""
    work, home = tmp_path / "work", tmp_path / "home"
    for name in ("backend", "m2n2_engine", "gunicorn"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('of another project')")
    home.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("M2N2_", "LABEL_STUDIO_", "PYTHON"))
    }
    port = find_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [environment / "bin" / "m2n2", "serve", "--port", str(port)],
            cwd=work,
            env={**kept, "HOME": str(home)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, tmp_path / "log")
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def wait_until_ready(url, process, log):
    """The weights of a new home are fetched first."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if requests.get(f"{url}/ready", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.5)


def test_it_serves_in_any_folder_and_answers_a_click(server, click):
    answer = requests.post(f"{server}/predict", json=click, timeout=CLICK_SECONDS)
    assert answer.status_code == 200, answer.text
    (region,) = answer.json()["results"][0]["result"]
    mask = brush_rle.decode(region["value"]["rle"], (HEIGHT, WIDTH))
    box = np.zeros_like(mask)
    box[BOX] = True
    assert (mask & box).sum() / (mask | box).sum() > 0.9
    assert requests.get(f"{server}/guide", timeout=5).status_code == 200
