"""deploy/air-gap: packed where there is a network, installed, upgraded and clicked in where there is none.

The commands of the second half run in a network of loopback alone. They find no index, hub or registry there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from backend.label_studio import brush_rle
from backend.tools.local_server import find_port
from tests.helpers.deploy.no_network import cut_off
from tests.helpers.image.container import HEIGHT, IMAGE, WIDTH, overlap_with_box
from tests.helpers.image.podman import LIMITS, Podman
from tests.helpers.paths import ROOT

HERE = ROOT / "tests" / "deploy_heavy"
# What a clone has, and a pack is made of.
CLONE = (
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "backend",
    "deploy",
    "docs",
    "m2n2_engine",
    "pyproject.toml",
    "requirements.txt",
)
NEWER = "99.1.0"
STOP_SECONDS = 60


def run(*command, **environ):
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def pack(clone, target, *options, **environ):
    """torch's own index is left out: pip finds the build of the lock where it finds the others on this machine."""
    started = time.monotonic()
    done = run(clone / "deploy" / "air-gap" / "pack.sh", target, *options, TORCH_INDEX_URL="", **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    sys.stdout.write(f"\npacked in {time.monotonic() - started:.0f} s, {size / 1e6:.0f} MB\n")


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Of this version, and of a newer one, which takes the wheels of the first."""
    folder = tmp_path_factory.mktemp("packs")
    pack(ROOT, folder / "this")
    clone = folder / "clone"
    clone.mkdir()
    for name in CLONE:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, clone / name)
    version = clone / "m2n2_engine" / "_version.py"
    version.write_text(re.sub(r'"[\d.]+"', f'"{NEWER}"', version.read_text()))
    pack(clone, folder / "newer", "--wheels", folder / "this" / "wheels")
    yield folder / "this", folder / "newer"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def offline():
    with cut_off() as inside:
        yield inside


@pytest.fixture(scope="module")
def installed(packs, offline, tmp_path_factory):
    """The folder that the first pack is installed in, with its weights."""
    folder = tmp_path_factory.mktemp("installed")
    install(offline, packs[0], folder)
    yield folder
    shutil.rmtree(folder)


def install(offline, pack, folder):
    done = run(*offline, pack / "install.sh", folder / "m2n2", folder / "weights")
    assert done.returncode == 0, done.stdout + done.stderr


def click_once(offline, folder, click):
    """Of the mask with the box; the server lives for this one click. And the version that it tells."""
    port = find_port()
    program = folder / "m2n2" / ".venv" / "bin" / "m2n2"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("M2N2_", "PIP_", "PYTHON"))},
        "HOME": str(folder),
        "M2N2_CACHE_FOLDER": str(folder / "weights"),
        "M2N2_DISK_CACHE_FOLDER": str(folder / "attention"),
        "NUMBA_CACHE_DIR": str(folder / "kernels"),
    }
    with (folder / "log").open("wb") as log:
        command = [*offline, program, "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
    try:
        answer = ask(offline, port, click, folder)
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS) == 0
    finally:
        server.kill()
        server.wait()
    version = subprocess.run(
        [program, "--version"], env=environ, cwd=folder, capture_output=True, text=True, check=True
    )
    return measure(answer), version.stdout.split()[-1]


def ask(offline, port, click, folder):
    (folder / "click.json").write_text(json.dumps(click))
    done = run(*offline, sys.executable, HERE / "ask_server.py", f"http://127.0.0.1:{port}", folder / "click.json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def measure(answer):
    (prediction,) = answer["results"]
    return overlap_with_box(brush_rle.decode(prediction["result"][0]["value"]["rle"], (HEIGHT, WIDTH)))


def test_nothing_is_reached_from_there(offline):
    """Else the others say nothing."""
    asked = run(*offline, "ip", "route")
    assert (asked.returncode, asked.stdout) == (0, "")
    download = "import urllib.request as r; r.urlopen('http://192.0.2.1', timeout=5)"
    assert "Network is unreachable" in run(*offline, sys.executable, "-c", download).stderr


def test_it_installs_upgrades_and_goes_back_without_a_network(installed, packs, offline, click):
    overlap, first = click_once(offline, installed, click)
    assert overlap > 0.9
    install(offline, packs[1], installed)
    overlap, second = click_once(offline, installed, click)
    assert overlap > 0.9
    assert (first != second, second) == (True, NEWER)
    install(offline, packs[0], installed)
    assert click_once(offline, installed, click)[1] == first
    assert (installed / "m2n2" / "deploy" / "systemd" / "m2n2@.service").is_file()


def test_a_damaged_pack_changes_nothing(packs, offline, tmp_path):
    manifest = packs[1] / "weights" / "dinov2-small" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole + b" ")
    done = run(*offline, packs[1] / "install.sh", tmp_path / "m2n2", tmp_path / "weights")
    manifest.write_bytes(whole)
    assert done.returncode == 1
    assert "manifest.json: FAILED" in done.stdout
    assert "the pack is damaged: nothing was changed" in done.stderr
    assert list(tmp_path.iterdir()) == []


def write_program(engine, path):
    """The engine by one word, as an operator names it."""
    path.write_text(f'#!/bin/sh\nexec {" ".join(map(str, engine.command))} "$@"\n')
    path.chmod(0o755)
    return path


def test_its_image_starts_in_an_engine_that_has_never_seen_it(podman, image, offline, click, tmp_path):
    here = write_program(podman, tmp_path / "engine-here")
    pack(ROOT, tmp_path / "pack", "--images-only", "--image", IMAGE, ENGINE=str(here))
    other = Podman(Path(tempfile.mkdtemp(prefix="engine-")))  # podman takes no path of more than 50 characters
    program = write_program(other, tmp_path / "engine-there")
    environ = {"ENGINE": str(program), "TMPDIR": str(tmp_path)}
    try:
        loaded = run(*offline, tmp_path / "pack" / "install.sh", "--images", **environ)
        assert loaded.returncode == 0, loaded.stderr
        port = find_port()
        settings = [f"--env=M2N2_PORT={port}", "--env=M2N2_HOST=127.0.0.1", *LIMITS]
        started = run(*offline, program, "run", "--detach", "--network=host", *settings, IMAGE, **environ)
        assert started.returncode == 0, started.stderr
        assert measure(ask(offline, port, click, tmp_path)) > 0.9
    finally:
        other("rm", "--all", "--force", "--volumes", "--time=0")
        # Its store is mounted on itself, and large.
        run("umount", "--recursive", other.folder / "store" / "overlay")
        for large in (other.folder, tmp_path / "pack"):
            shutil.rmtree(large)
