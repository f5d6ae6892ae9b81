"""deploy/air-gap: what is wrong is said in one line, and images go from one engine to another.

Wheels, weights and a machine without a network are in tests/deploy_heavy.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.helpers.paths import ROOT

AIR_GAP = ROOT / "deploy" / "air-gap"
OWN = (".env", "m2n2.env", "label-studio.env", "secrets/label_studio_api_key")


@pytest.fixture
def engine(tmp_path):
    """It saves an image as its name, and keeps what it loads in the file ``loaded``."""
    program = tmp_path / "engine"
    program.write_text(
        f"""#!/bin/sh
case "$1" in
    save) echo "$4" > "$3" ;;
    load) cat "$3" >> {tmp_path}/loaded ;;
esac
"""
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def run(engine):
    def run(*command):
        environ = {**os.environ, "ENGINE": str(engine)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def pack(run, tmp_path):
    """Of two images alone."""
    images = ("--image", "m2n2:cpu", "--image", "registry.example/label-studio@sha256:0123")
    done = run(AIR_GAP / "pack.sh", tmp_path / "pack", "--images-only", *images)
    assert done.returncode == 0, done.stderr
    return tmp_path / "pack"


def test_images_go_from_one_engine_to_another(run, pack, tmp_path):
    done = run(pack / "install.sh", "--images")
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "loaded").read_text().split()) == [
        "m2n2:cpu",
        "registry.example/label-studio@sha256:0123",
    ]


def test_the_pack_has_what_is_deployed_and_nothing_of_this_machine_s(run, tmp_path):
    clone = tmp_path / "clone"
    for name in ("deploy", "docs"):
        shutil.copytree(ROOT / name, clone / name)
    for name in ("CHANGELOG.md", "LICENSE", "README.md"):
        (clone / name).write_text("")
    for name in OWN:
        (clone / "deploy" / name).parent.mkdir(exist_ok=True)
        (clone / "deploy" / name).write_text("SECRET=1")
    done = run(clone / "deploy" / "air-gap" / "pack.sh", tmp_path / "pack", "--images-only", "--image", "m2n2:cpu")
    assert done.returncode == 0, done.stderr
    names = run("tar", "--list", "--file", tmp_path / "pack" / "files.tar").stdout.splitlines()
    assert {"deploy/docker-compose.yml", "docs/operate/air-gap.md", "README.md"} <= set(names)
    assert {"deploy/defaults/m2n2.env", "deploy/defaults/label-studio.env"} <= set(names)
    assert not {f"deploy/{name}" for name in OWN} & set(names)


def test_a_damaged_pack_is_refused(run, pack, tmp_path):
    with (pack / "files.tar").open("ab") as file:
        file.write(b"x")
    done = run(pack / "install.sh", "--images")
    assert done.returncode == 1
    assert "install: the pack is damaged: nothing was changed" in done.stderr
    assert not (tmp_path / "loaded").exists()


def test_a_pack_of_images_installs_no_environment(run, pack, tmp_path):
    done = run(pack / "install.sh", tmp_path / "m2n2", tmp_path / "weights")
    assert (done.returncode, done.stderr) == (1, "install: the pack has images alone: install.sh --images\n")
    assert not (tmp_path / "m2n2").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the folder to pack into"),
        (["new", "--gpu"], "--gpu is no option: --torch, --weights, --image, --wheels, --images-only"),
        (["new", "--image"], "--image needs a value"),
        (["new", "--torch", "rocm"], "there is no deploy/image/rocm.lock: torch-cpu or torch-cuda"),
        (["new", "--wheels", "/none"], "there is no folder /none"),
        (["new", "--images-only"], "--images-only needs an image: --image m2n2:cpu"),
        (["/tmp"], "/tmp is there already: name a new folder"),
    ],
)
def test_a_pack_that_cannot_be_made_is_said_in_one_line(run, tmp_path, arguments, message):
    done = run("env", f"--chdir={tmp_path}", AIR_GAP / "pack.sh", *arguments)
    assert (done.returncode, done.stderr) == (1, f"pack: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_install_says_what_it_is_to_be_told(run, pack):
    done = run(pack / "install.sh")
    assert done.returncode == 1
    assert done.stderr == "install: say install.sh FOLDER WEIGHTS_FOLDER, or install.sh --images\n"
