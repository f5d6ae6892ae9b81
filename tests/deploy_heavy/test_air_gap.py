"""docs/operate/air-gap.md, followed to the letter: packed where there is a network, installed, upgraded and clicked in
where there is none.

Both are clean Debians with systemd. The second one is cut off once it has the packages that the page names: it finds no
index, hub or registry. pages.py says what is typed otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backend.tools.local_server import find_port
from m2n2_engine import __version__
from tests.deploy_heavy.pages import GO_BACK, GO_ON, INSTALL, PACK, PACK_NEWER, PREPARE, UPGRADE
from tests.helpers.deploy.no_network import cut_off
from tests.helpers.image.container import IMAGE, measure_prediction
from tests.helpers.image.machine import start_machine
from tests.helpers.image.podman import Podman
from tests.helpers.paths import ROOT

HERE = ROOT / "tests" / "deploy_heavy"
PACK_SCRIPT = ROOT / "deploy" / "air-gap" / "pack.sh"
NEWER = "99.1.0"
URL = "http://127.0.0.1:9090"


@pytest.fixture(scope="module")
def packs(podman, clone, tmp_path_factory):
    """The folder with those of this version and of a newer one, as it is carried over."""
    folder = tmp_path_factory.mktemp("packs")
    with start_machine(podman, tmp_path_factory.mktemp("machine"), {**clone, str(folder): "/var/tmp"}) as machine:
        machine.follow(PACK)
        machine.run(f"""sed -i 's/"[0-9.]*"/"{NEWER}"/' m2n2/m2n2_engine/_version.py""")
        machine.follow(PACK_NEWER, workdir="/root/m2n2")
    for pack in sorted(folder.glob("m2n2-pack*")):
        size = sum(file.stat().st_size for file in pack.rglob("*") if file.is_file())
        sys.stdout.write(f"\n{pack.name}: {size / 1e6:.0f} MB\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cut_off_machine(podman, packs, tmp_path_factory):
    """It has loopback alone, and the packs."""
    with start_machine(podman, tmp_path_factory.mktemp("machine"), {str(packs): "/var/tmp"}) as machine:
        machine.follow(PREPARE)
        machine.cut_off()
        yield machine


def test_nothing_is_reached_from_there(cut_off_machine):
    """Else the others say nothing."""
    assert cut_off_machine.run("ip route") == ""
    # The kernel is asked for a way, and nothing is sent.
    assert "Network is unreachable" in cut_off_machine.run("ip route get 192.0.2.1 2>&1 || true")


def click_on(machine, click):
    """The version that answers, once it is ready, and whose mask is right."""
    machine.run(f"curl --silent --fail --retry 900 --retry-delay 1 --retry-all-errors {URL}/ready")
    assert measure_prediction(machine.post(f"{URL}/predict", click)) > 0.9
    (version,) = re.findall(r'm2n2_build_info\{.*version="([^"]+)"', machine.run(f"curl --silent {URL}/metrics"))
    return version


def test_the_page_is_followed(cut_off_machine, click):
    """It installs, upgrades and goes back without a network."""
    cut_off_machine.follow(INSTALL)
    cut_off_machine.follow(GO_ON, workdir="/opt/m2n2")
    assert click_on(cut_off_machine, click) == __version__
    cut_off_machine.follow(UPGRADE)
    assert click_on(cut_off_machine, click) == NEWER
    cut_off_machine.follow(GO_BACK)
    assert click_on(cut_off_machine, click) == __version__


def test_a_damaged_pack_changes_nothing(cut_off_machine, packs):
    with (packs / "m2n2-pack-new" / "weights" / "dinov2-small" / "manifest.json").open("ab") as manifest:
        manifest.write(b" ")
    installing = "/var/tmp/m2n2-pack-new/install.sh /root/m2n2 /root/weights"
    said = cut_off_machine.run(f'{installing} 2>&1 || echo "ended with $?"')
    assert "manifest.json: FAILED" in said
    assert "the pack is damaged: nothing was changed" in said
    assert "ended with 1" in said
    assert cut_off_machine.run("ls /root") == ""


@pytest.fixture(scope="module")
def offline():
    with cut_off() as inside:
        yield inside


def run(*command, **environ):
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def ask(offline, port, click, folder):
    (folder / "click.json").write_text(json.dumps(click))
    done = run(*offline, sys.executable, HERE / "ask_server.py", f"http://127.0.0.1:{port}", folder / "click.json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_image_starts_in_an_engine_that_has_never_seen_it(podman, image, offline, click, tmp_path):
    here = podman.write_program(tmp_path / "engine-here")
    packed = run(PACK_SCRIPT, tmp_path / "pack", "--images-only", "--image", IMAGE, ENGINE=str(here))
    assert packed.returncode == 0, packed.stderr
    other = Podman(Path(tempfile.mkdtemp(prefix="engine-")))  # podman takes no path of more than 50 characters
    program = other.write_program(tmp_path / "engine-there")
    environ = {"ENGINE": str(program), "TMPDIR": str(tmp_path)}
    try:
        loaded = run(*offline, tmp_path / "pack" / "install.sh", "--images", **environ)
        assert loaded.returncode == 0, loaded.stderr
        port = find_port()
        settings = [f"--env=M2N2_PORT={port}", "--env=M2N2_HOST=127.0.0.1"]
        started = run(*offline, program, "run", "--detach", "--network=host", *settings, IMAGE, **environ)
        assert started.returncode == 0, started.stderr
        assert measure_prediction(ask(offline, port, click, tmp_path)) > 0.9
    finally:
        other("rm", "--all", "--force", "--volumes", "--time=0")
        # Its store is mounted on itself, and large.
        run("umount", "--recursive", other.folder / "store" / "overlay")
        for large in (other.folder, tmp_path / "pack"):
            shutil.rmtree(large)
