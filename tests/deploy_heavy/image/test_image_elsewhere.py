"""The image where others start it: as Kubernetes does, with its environment and volumes, and in nuclio's function."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import nuclio_sdk
import numpy as np
import pytest
import requests
import yaml

from backend.tools.local_server import find_port
from tests.helpers.deploy.kustomize import find_containers, render
from tests.helpers.image.container import ANSWER_SECONDS, BOX, measure_overlap, overlap_with_box
from tests.helpers.paths import ROOT

HERE = Path(__file__).parent
DEPLOY = ROOT / "deploy"
USER = 10001


@pytest.fixture
def claim(tmp_path):
    """An empty volume that belongs to the user."""
    folder = tmp_path / "claim"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


def test_the_pod_of_the_kubernetes_base_answers_a_click(make_container, claim, click):
    manifests = render(DEPLOY / "kubernetes" / "base")
    (configmap,) = (manifest for manifest in manifests if manifest["kind"] == "ConfigMap")
    (described,) = find_containers(manifests)
    assert {mount["mountPath"] for mount in described["volumeMounts"]} == {"/cache", "/tmp"}
    environment = [f"--env={name}={value}" for name, value in configmap["data"].items()]
    # What the image has at /weights stays where it is, read-only.
    container = make_container("--image-volume=ignore", f"--volume={claim}:/cache", *environment)
    sys.stdout.write(f"\nready after {container.wait_until_ready():.0f} s on an empty volume\n")
    assert measure_overlap(container.ask("/predict", click)) > 0.9
    assert container.run("touch /weights/x 2>/dev/null || echo refused") == "refused"
    assert {path.name for path in claim.iterdir()} >= {"attention", "kernels"}


def find_misses(container):
    """What the disk did not have: the picture, and the part of it that is looked at again."""
    lines = container.ask("/metrics").text.splitlines()
    (misses,) = [line for line in lines if line.startswith('m2n2_cache_misses_total{level="disk"}')]
    return misses


def test_one_container_answers_label_studio_s_calls_and_cvat_s(make_container, click):
    """Each with its own sequence; the picture is prepared once for both."""
    port = find_port()
    container = make_container(f"--env=M2N2_CVAT_PORT={port}")
    container.wait_until_ready()
    setup = json.loads((ROOT / "tests" / "data" / "label_studio" / "setup_request.json").read_text())["body"]
    assert container.ask("/health").status_code == 200
    assert container.ask("/setup", setup).json()["model_version"]
    assert measure_overlap(container.ask("/predict", click)) > 0.9
    prepared = find_misses(container)

    root = f"http://127.0.0.1:{port}"
    headers = {"x-nuclio-project-name": "cvat", "x-nuclio-function-namespace": "nuclio"}
    (name,) = requests.get(f"{root}/api/functions", headers=headers, timeout=ANSWER_SECONDS).json()
    described = requests.get(f"{root}/api/functions/{name}", headers=headers, timeout=ANSWER_SECONDS).json()
    assert described["status"]["httpPort"] == port
    invoked = requests.post(
        f"{root}/api/function_invocations",
        json=render_cvat_click(click),
        headers={**headers, "x-nuclio-function-name": name, "x-nuclio-path": "/"},
        timeout=ANSWER_SECONDS,
    )
    assert invoked.status_code == 200, invoked.text
    assert overlap_with_box(np.array(invoked.json()["mask"], bool)) > 0.9
    assert find_misses(container) == prepared


def render_cvat_click(click):
    """The same picture, with a point in the middle of the box."""
    x, y = ((side.start + side.stop) / 2 for side in (BOX[1], BOX[0]))
    picture = click["tasks"][0]["data"]["image"].partition(",")[2]
    return {"image": picture, "pos_points": [[x, y]], "neg_points": []}


@pytest.fixture
def function():
    """Environment of the function with a server of its own, at a port that is free here."""
    described = yaml.safe_load((DEPLOY / "cvat" / "nuclio" / "function-gpu.yaml").read_text())["spec"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {variable["name"]: variable["value"] for variable in described["env"]}
    return {**own, "M2N2_PORT": str(port), "SERVER_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": "/function:/sdk"}


def test_nuclio_s_function_starts_the_server_beside_it(make_container, function, click, tmp_path):
    """In the image for processors: what is told apart by the target is the device alone."""
    (tmp_path / "click.json").write_text(json.dumps(render_cvat_click(click)))
    shutil.copy(HERE / "nuclio_worker.py", tmp_path)
    container = make_container(
        '--entrypoint=["sleep", "600"]',
        f"--volume={DEPLOY / 'cvat' / 'nuclio'}:/function:ro",
        f"--volume={Path(nuclio_sdk.__file__).parent}:/sdk/nuclio_sdk:ro",
        f"--volume={tmp_path}:/asked:ro",
        *(f"--env={name}={value}" for name, value in function.items()),
    )
    tmp_path.chmod(0o755)
    answer = json.loads(container.run("python /asked/nuclio_worker.py /asked/click.json").splitlines()[-1])
    assert (answer["statuses"], answer["ended"]) == ([200, 200], 0)
    for body in answer["bodies"]:
        assert overlap_with_box(np.array(json.loads(body)["mask"], bool)) > 0.9
