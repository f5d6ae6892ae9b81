"""The image, built once, containers of it, and a click to ask them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.image.container import BOX, HEIGHT, IMAGE, WIDTH, Container
from tests.helpers.image.pip_access import share_pip
from tests.helpers.image.podman import TOOLS, Podman

ROOT = Path(__file__).parents[2]
STORE = ROOT / "out" / "deploy-test"


@pytest.fixture(scope="session")
def podman():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.fail(f"run this as root, after: apt-get install {' '.join(TOOLS)}")
    STORE.mkdir(parents=True, exist_ok=True)
    return Podman(STORE)


@pytest.fixture(scope="session")
def image(podman):
    return podman.build(ROOT, "cpu", IMAGE)


@pytest.fixture(scope="module")
def clone(podman, tmp_path_factory):
    """What a machine gets to clone and install from: a repository at /repository, and where pip finds packages."""
    folder = tmp_path_factory.mktemp("clone") / "repository"
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, folder], check=True)
    yield {str(folder): "/repository", **share_pip(podman.folder / "pip-of-machine")}
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def make_container(podman, image):
    with contextlib.ExitStack() as stack:

        def make(*options, image=IMAGE):
            container = Container(podman, *options, image=image)
            stack.callback(podman, "rm", "--force", "--volumes", "--time=0", container.id)
            return container

        yield make


@pytest.fixture(scope="session")
def click():
    """What a real Label Studio sent for one click, with a picture of a red box under it."""
    picture = np.full((HEIGHT, WIDTH, 3), (70, 130, 90), np.uint8)
    picture[BOX] = 50, 60, 200
    encoded = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
    recorded = ROOT / "tests" / "data" / "label_studio" / "predict_interactive_1_points.json"
    body = json.loads(recorded.read_text())["body"]
    body["tasks"][0]["data"]["image"] = f"data:image/png;base64,{encoded}"
    return body
