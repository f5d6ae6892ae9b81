"""Every set of pins installs into a fresh environment, and its packages want nothing else of each other."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv

import pytest

from tests.helpers.deploy.lock import PRODUCT_LOCK, RAY_LOCK, TORCH_CPU_LOCK
from tests.helpers.deploy.pins import BESIDE_PRODUCT, EXTRAS, OTHERS, PRODUCT, PRODUCT_AND_EXTRAS


@pytest.fixture
def pip(tmp_path):
    """Runs the pip of a fresh environment, which is gone afterwards: it may be gigabytes."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)

    def run(*arguments):
        command = [folder / "bin" / "python", "-m", "pip", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    yield run
    shutil.rmtree(folder)


def install(pip, requirements, *options):
    """And find each at its version, whatever build of it."""
    result = pip("install", "--quiet", *options, *requirements)
    assert result.returncode == 0, result.stderr
    installed = {normalize(one["name"]): one["version"] for one in json.loads(pip("list", "--format=json").stdout)}
    for requirement in requirements:
        name, version = requirement.split("==")
        assert installed[normalize(name.partition("[")[0])].split("+")[0] == version


def normalize(name):
    return name.lower().replace("_", "-")


def is_sound(pip):
    return pip("check").stdout == "No broken requirements found.\n"


@pytest.mark.parametrize("requirements", [PRODUCT_AND_EXTRAS, *OTHERS.values()], ids=["product and extras", *OTHERS])
def test_pins_install_together(pip, requirements):
    install(pip, requirements)
    assert is_sound(pip)


def test_the_locks_of_the_image_install_by_their_hashes(pip):
    """And their packages want nothing that they do not have."""
    for lock in (PRODUCT_LOCK, TORCH_CPU_LOCK, RAY_LOCK):
        result = pip("install", "--quiet", "--require-hashes", "--no-deps", f"--requirement={lock}")
        assert result.returncode == 0, result.stderr
        assert is_sound(pip)


def test_a_file_with_another_hash_is_not_installed(pip, tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"idna==3.20 --hash=sha256:{'0' * 64}\n")
    result = pip("install", "--quiet", "--require-hashes", "--no-deps", f"--requirement={lock}")
    assert result.returncode != 0
    assert "DO NOT MATCH THE HASHES" in result.stderr


def test_the_product_s_do_and_label_studio_ml_beside_them(pip):
    """That package asks for an old Flask, which the product's takes the place of; nobody else misses anything."""
    install(pip, PRODUCT + EXTRAS["label-studio-ml"])
    assert is_sound(pip)
    install(pip, BESIDE_PRODUCT, "--no-deps")
    complaints = pip("check").stdout.splitlines()
    assert complaints
    assert all(line.startswith("label-studio-ml ") for line in complaints), complaints
