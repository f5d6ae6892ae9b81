"""The model class in a server of label-studio-ml 1.0.9, asked as a real Label Studio asks; `make e2e` runs it."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image as PillowImage

from backend.label_studio import brush_rle
from backend.settings import load_settings
from backend.tools.studio.processes import HOST, Server
from m2n2_engine.engine import load_engine
from m2n2_engine.types import Click
from tests.helpers.paths import ROOT

RECORDED = ROOT / "tests" / "data" / "label_studio"
TINY = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "128"}
SHAPE = (480, 640)
START_SECONDS = 60.0
ANSWER_SECONDS = 100.0
"""As long as Label Studio waits; the first click waits for the engine."""


def read_body(name: str) -> Any:
    """Body of a request that a real Label Studio sent."""
    return json.loads((RECORDED / f"{name}.json").read_text())["body"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("label-studio-ml")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    command: list[str | Path] = [sys.executable, "-m", "gunicorn", "--threads", "4", "--bind", f"{HOST}:{port}"]
    command += ["--chdir", Path(__file__).parent, "serve:app"]
    # It keeps its models in a folder of its own.
    environ = {**TINY, "MODEL_DIR": str(folder)}
    log = folder / "server.log"
    with Server("label-studio-ml", command, environ, port=port, ready_path="/health", log=log, folder=folder) as server:
        server.wait_ready(START_SECONDS)
        yield server


@pytest.fixture(scope="module")
def ask(server: Server) -> Callable[[str, Any], Any]:
    """What the server answers to a body, after it was set up as Label Studio does."""

    def post(path: str, body: Any) -> Any:
        response = requests.post(f"{server.url}{path}", json=body, timeout=ANSWER_SECONDS)
        assert response.ok, response.text
        return response.json()

    post("/setup", read_body("setup_request"))
    return post


@pytest.fixture(scope="module")
def image() -> np.ndarray[Any, Any]:
    """A bright box, under the first of the recorded clicks, on noise."""
    pixels = np.random.default_rng(3).integers(40, 60, (*SHAPE, 3), np.uint8)
    pixels[150:280, 120:310] += 150
    return pixels


def test_the_release_is_the_one_of_the_registry(server: Server) -> None:
    assert importlib.metadata.version("label-studio-ml") == "1.0.9"
    assert requests.get(f"{server.url}/health", timeout=ANSWER_SECONDS).json()["status"] == "UP"


def test_setup_is_answered(ask: Callable[[str, Any], Any]) -> None:
    assert "model_version" in ask("/setup", read_body("setup_request"))


@pytest.mark.parametrize("points", [1, 2, 3])
def test_a_click_has_the_mask_of_the_engine(
    ask: Callable[[str, Any], Any], image: np.ndarray[Any, Any], points: int
) -> None:
    body = read_body(f"predict_interactive_{points}_points")
    file = io.BytesIO()
    PillowImage.fromarray(image).save(file, "PNG")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    ((region,),) = [prediction["result"] for prediction in ask("/predict", body)["results"]]
    assert (region["type"], region["value"]["brushlabels"]) == ("brushlabels", ["Cat"])
    clicks = [
        Click(point["value"]["x"] / 100 * SHAPE[1], point["value"]["y"] / 100 * SHAPE[0], point["is_positive"])
        for point in body["params"]["context"]["result"]
    ]
    expected = load_engine(load_settings(TINY).engine_config()).segment(image, clicks).mask
    np.testing.assert_array_equal(brush_rle.decode(region["value"]["rle"], SHAPE), expected)


def test_a_batch_has_one_empty_list_a_task(ask: Callable[[str, Any], Any]) -> None:
    assert ask("/predict", read_body("predict_batch_2_tasks"))["results"] == [[], []]


def test_what_cannot_be_answered_is_an_empty_result(ask: Callable[[str, Any], Any]) -> None:
    body = read_body("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "file:///etc/passwd"
    (prediction,) = ask("/predict", body)["results"]
    assert prediction["result"] == []
