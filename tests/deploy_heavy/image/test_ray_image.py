"""The image with Ray: a head, a replica of the engine and a server as its client, in containers, and a click.

They are started by deploy/ray-cpu as KubeRay would start them: the head is given its serveConfigV2, and the server runs
the command of its Deployment with its settings. All are in a network of loopback alone, where no port of Ray's is in
anyone's way.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time

import pytest

from backend.label_studio import brush_rle
from tests.helpers.deploy.kustomize import render
from tests.helpers.deploy.no_network import cut_off
from tests.helpers.image.container import HEIGHT, WIDTH, overlap_with_box
from tests.helpers.paths import ROOT

IMAGE = "localhost/m2n2:ray"
SERVE_SECONDS = 600
# Ray puts the address that others reach the machine by in place of 127.0.0.1.
HEAD, SERVER = "127.0.0.2", "127.0.0.3"
HEAD_COMMAND = (
    f"ray start --head --block --node-ip-address={HEAD} --port=6379 --num-cpus=4 --object-store-memory=300000000"
)
PORT = "9090"


@pytest.fixture(scope="module")
def ray_image(podman, image):
    built = podman.build(ROOT, "ray-cpu", IMAGE)
    assert built["User"] == "10001:10001"
    return IMAGE


@pytest.fixture(scope="module")
def network():
    with cut_off() as inside:
        yield inside


@pytest.fixture
def start(podman, ray_image, network, tmp_path):
    """Starts a container with a command and what the pods of deploy/ray share."""
    place = next(word for word in network if word.startswith("--net=")).removeprefix("--net=")
    token = secrets.token_hex(16)
    started = []

    def start(command, *options):
        given = [
            f"--add-host=m2n2-head-svc:{HEAD}",
            "--env=RAY_AUTH_MODE=token",
            f"--env=RAY_AUTH_TOKEN={token}",
            "--env=RAY_USAGE_STATS_ENABLED=0",
            "--shm-size=1200m",
            *options,
        ]
        words = json.dumps(["bash", "-c", command])
        started.append(podman.start(ray_image, *given, f"--entrypoint={words}", network=f"ns:{place}"))
        return started[-1]

    yield start
    for identity in started:
        podman("rm", "--force", "--volumes", "--time=0", identity)


@pytest.fixture(scope="module")
def manifests():
    """Kind -> manifest of the kustomization for processors."""
    return {manifest["kind"]: manifest for manifest in render(ROOT / "deploy" / "ray-cpu")}


def find_server_command(manifests):
    """Of the pods that clicks come to, and its settings. On one machine a second node has to be told its address."""
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c"]
    (command,) = container["args"]
    environ = [f"--env={name}={value}" for name, value in manifests["ConfigMap"]["data"].items()]
    return command.replace("ray start ", f"ray start --node-ip-address={SERVER} ", 1), environ


def wait_until_serving(podman, head):
    deadline = time.monotonic() + SERVE_SECONDS
    while "RUNNING" not in (status := podman("exec", head, "serve", "status")).split():
        assert time.monotonic() < deadline, status
        time.sleep(1)


def test_a_head_a_replica_and_a_server_answer_a_click(podman, start, network, manifests, click, tmp_path):
    (tmp_path / "serve.yaml").write_text(manifests["RayService"]["spec"]["serveConfigV2"])
    (tmp_path / "click.json").write_text(json.dumps(click))
    tmp_path.chmod(0o755)
    began = time.monotonic()
    head = start(HEAD_COMMAND, f"--volume={tmp_path}:/given:ro")
    deadline = time.monotonic() + SERVE_SECONDS
    while not podman.succeeds("exec", head, "serve", "deploy", "/given/serve.yaml"):
        assert podman.inspect("container", head)["State"]["Running"], podman("logs", head)
        assert time.monotonic() < deadline
        time.sleep(1)
    wait_until_serving(podman, head)
    command, environ = find_server_command(manifests)
    server = start(command, *environ)
    asked = [*network, sys.executable, ROOT / "tests" / "deploy_heavy" / "ask_server.py"]
    done = subprocess.run(
        [*asked, f"http://127.0.0.1:{PORT}", tmp_path / "click.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + podman("logs", server)
    sys.stdout.write(f"\na first click with Ray {time.monotonic() - began:.0f} s after the head was started\n")
    (prediction,) = json.loads(done.stdout)["results"]
    mask = brush_rle.decode(prediction["result"][0]["value"]["rle"], (HEIGHT, WIDTH))
    assert overlap_with_box(mask) > 0.9
    health = [*network, "curl", "--silent", f"http://127.0.0.1:{PORT}/metrics"]
    metrics = subprocess.run(health, capture_output=True, text=True, check=True).stdout
    assert "m2n2_replicas 1.0" in metrics
