"""The server as it is deployed: gunicorn with the embedded weights, asked as Label Studio asks."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from backend.label_studio import brush_rle
from backend.tools.local_server import CONFIGURATION
from m2n2_engine.config import WeightsConfig
from m2n2_engine.types import Mask

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "data" / "label_studio"
INTERACTIVE = sorted(path.stem for path in RECORDED.glob("predict_interactive_*.json"))
WIDTH, HEIGHT = 640, 480
RED_BOX = np.s_[150:232, 120:310]
API_KEY = "fedcba9876543210fedcba9876543210fedcba98"
START_SECONDS = 120
STOP_SECONDS = 30
ANSWER_SECONDS = 60


def read_body(name: str) -> Any:
    """Body of a request that a real Label Studio sent."""
    return json.loads((RECORDED / f"{name}.json").read_text())["body"]


@dataclasses.dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def ask(self, path: str, body: Any = None) -> requests.Response:
        if body is None:
            return requests.get(f"{self.url}{path}", timeout=ANSWER_SECONDS)
        return requests.post(f"{self.url}{path}", json=body, timeout=ANSWER_SECONDS)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def _is_ready(self) -> bool:
        try:
            return self.ask("/ready").status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def environment(embedded_weights: WeightsConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the server and the command line have in common: the embedded weights, the attention cache on disk, a small
    working size and one thread to save time, and no setting from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("M2N2_", "LABEL_STUDIO_"))}
    return {
        **kept,
        "M2N2_BACKBONE": "dinov2-small",
        "M2N2_DEVICE": "cpu",
        "M2N2_CACHE_FOLDER": str(embedded_weights.cache_folder),
        "M2N2_DISK_CACHE_FOLDER": str(tmp_path_factory.mktemp("attention")),
        "M2N2_OFFLINE": "true",
        "M2N2_WORKING_SIZE_PIXELS": "320",
        "M2N2_THREADS": "1",
    }


@pytest.fixture(scope="module")
def server(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """gunicorn as it is deployed, on a free port, ready to answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        **environment,
        "M2N2_HOST": "127.0.0.1",
        "M2N2_PORT": str(port),
        "M2N2_LOG_LEVEL": "debug",
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": API_KEY,
    }
    log_file = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "gunicorn", "-c", CONFIGURATION]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=subprocess.STDOUT)
    server = Server(process, f"http://127.0.0.1:{port}", log_file)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On a green gradient with grain, a red box under the recorded positive points, a blue one under the negative one
    and a yellow disc."""
    rng = np.random.default_rng(11)
    image = np.empty((HEIGHT, WIDTH, 3), np.float32)
    image[:] = np.linspace((60, 110, 70), (90, 150, 90), HEIGHT)[:, None]
    image[RED_BOX] = 200, 60, 50
    image[232:330, 160:280] = 50, 70, 190
    cv2.circle(image, (480, 120), 70, (220, 200, 60), -1, cv2.LINE_AA)
    image += rng.normal(0, 3, image.shape)
    path = tmp_path_factory.mktemp("image") / "objects.png"
    cv2.imwrite(str(path), np.clip(image, 0, 255).astype(np.uint8)[:, :, ::-1])
    return path


@pytest.fixture
def interactive(image_file: Path) -> Callable[[str], Any]:
    """Body of a recorded interactive request with our image."""

    def make(name: str) -> Any:
        body = read_body(name)
        data = base64.b64encode(image_file.read_bytes()).decode()
        body["tasks"][0]["data"]["image"] = f"data:image/png;base64,{data}"
        return body

    return make


def key_points(body: Any) -> list[Any]:
    found: list[Any] = body["params"]["context"]["result"]
    return found


def to_pixels(point: Any) -> tuple[float, float]:
    return point["value"]["x"] / 100 * WIDTH, point["value"]["y"] / 100 * HEIGHT


@pytest.fixture(scope="module")
def command_masks(
    environment: dict[str, str], image_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Mask]:
    """Recorded request -> the mask that ``m2n2 segment`` writes for its clicks. The commands run beside each other."""
    m2n2 = Path(sys.executable).with_name("m2n2")
    output = tmp_path_factory.mktemp("masks")
    commands = {}
    for name in INTERACTIVE:
        clicks = []
        for point in key_points(read_body(name)):
            x, y = to_pixels(point)
            clicks += ["--point" if point["is_positive"] else "--negative", f"{x!r},{y!r}"]
        command = [m2n2, "segment", image_file, *clicks, "--output", output / f"{name}.png"]
        commands[name] = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for name, process in commands.items():
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, b""), name
    return {name: cv2.imread(str(output / f"{name}.png"), cv2.IMREAD_UNCHANGED) > 0 for name in INTERACTIVE}


@pytest.mark.parametrize("name", INTERACTIVE)
def test_a_click_has_the_mask_of_the_command_line(
    server: Server, command_masks: dict[str, Mask], interactive: Callable[[str], Any], name: str
) -> None:
    body = interactive(name)
    response = server.ask("/predict", body)
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["results"]
    (region,) = prediction["result"]
    assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", "brush", "image")
    assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
    assert region["value"]["brushlabels"] == ["Cat"]
    assert 0 < region["score"] <= 1
    mask = brush_rle.decode(region["value"]["rle"], (HEIGHT, WIDTH))
    np.testing.assert_array_equal(mask, command_masks[name])
    for point in key_points(body):
        x, y = to_pixels(point)
        assert mask[int(y), int(x)] == point["is_positive"]


def test_one_click_finds_the_object(server: Server, interactive: Callable[[str], Any]) -> None:
    (prediction,) = server.ask("/predict", interactive("predict_interactive_1_points")).json()["results"]
    mask = brush_rle.decode(prediction["result"][0]["value"]["rle"], (HEIGHT, WIDTH))
    box = np.zeros_like(mask)
    box[RED_BOX] = True
    assert (mask & box).sum() / (mask | box).sum() > 0.9


def test_batch_predictions_are_empty(server: Server) -> None:
    body = read_body("predict_batch_2_tasks")
    assert server.ask("/predict", body).json() == {"results": [[] for _ in body["tasks"]]}


def test_health_and_setup(server: Server) -> None:
    health = server.ask("/health")
    assert health.status_code == 200
    facts = health.json()
    assert (facts["status"], facts["state"], facts["backbone"]) == ("UP", "ready", "dinov2-small")
    setup = server.ask("/setup", read_body("setup_request"))
    assert (setup.status_code, setup.json()) == (200, {"model_version": facts["model_version"]})


@pytest.mark.parametrize("name", ["webhook_ANNOTATION_CREATED", "webhook_ANNOTATIONS_DELETED"])
def test_webhooks_are_taken(server: Server, name: str) -> None:
    assert server.ask("/webhook", read_body(name)).status_code == 204


def test_another_size_is_answered_at_the_size_that_was_asked_for(
    server: Server, interactive: Callable[[str], Any]
) -> None:
    body = interactive("predict_interactive_1_points")
    for point in key_points(body):
        point["original_width"], point["original_height"] = 320, 200
    (prediction,) = server.ask("/predict", body).json()["results"]
    (region,) = prediction["result"]
    assert (region["original_width"], region["original_height"]) == (320, 200)
    mask = brush_rle.decode(region["value"]["rle"], (200, 320))
    value = key_points(body)[0]["value"]
    assert mask[int(value["y"] * 2), int(value["x"] * 3.2)]
    assert "Label Studio gives the image as 320 x 200 pixels, but it has 640 x 480: the mask is scaled" in server.log


def test_what_is_no_image_is_answered_and_logged_in_one_line(server: Server, interactive: Callable[[str], Any]) -> None:
    body = interactive("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64,aGVsbG8="
    response = server.ask("/predict", body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "InvalidImage"
    (line,) = [line for line in server.log.splitlines() if error["request_id"] in line and "InvalidImage" in line]
    assert error["message"] in line


def test_the_log_holds_no_secret_and_the_server_stops_cleanly(
    server: Server, interactive: Callable[[str], Any]
) -> None:
    """The last of the file: it stops the server."""
    token = read_body("setup_request")["access_token"]
    server.ask("/setup", read_body("setup_request"))
    requests.get(f"{server.url}/health?token=in-a-query", auth=("user", "basic"), timeout=ANSWER_SECONDS)
    server.ask("/predict", interactive("predict_interactive_1_points"))
    assert server.stop() == 0
    log = server.log
    assert "POST '/setup' 200" in log
    assert "POST '/predict' 200" in log
    for secret in (token, API_KEY, "in-a-query", "dXNlcjpiYXNpYw==", "base64,", "Traceback", "ERROR"):
        assert secret not in log
