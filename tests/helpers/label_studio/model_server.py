"""A server of label-studio-ml with this product's model, and what it must answer, whatever the package's generation."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image as PillowImage

from backend.label_studio import brush_rle
from backend.settings import load_settings
from backend.tools.local_server import find_port
from backend.tools.studio.processes import HOST, Server
from m2n2_engine.engine import load_engine
from m2n2_engine.types import Click, Mask
from tests.helpers.paths import ROOT

TINY = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "128", "M2N2_DISK_CACHE_MIB": "0"}
SHAPE = (480, 640)
"""(H, W) of the image that the recorded requests are about."""

_RECORDED = ROOT / "tests" / "data" / "label_studio"
_START_SECONDS = 60.0
_ANSWER_SECONDS = 100.0
"""As long as Label Studio waits; the first click waits for the engine."""


@contextlib.contextmanager
def serve_model(folder: Path, environ: Mapping[str, str]) -> Iterator[Server]:
    """The server, ready. folder: for its log and files. environ: added to this process's own."""
    port = find_port()
    command: list[str | Path] = [sys.executable, "-m", "gunicorn", "--threads", "4", "--bind", f"{HOST}:{port}"]
    command += ["--chdir", ROOT / "tests" / "label_studio_ml", "serve:app"]
    # MODEL_DIR: that of the registry keeps its models in a folder of its own.
    given = {**TINY, "MODEL_DIR": str(folder), **environ}
    log = folder / "server.log"
    with Server("label-studio-ml", command, given, port=port, ready_path="/health", log=log, folder=folder) as server:
        server.wait_ready(_START_SECONDS)
        yield server


def read_body(name: str) -> Any:
    """Body of a request that a real Label Studio sent."""
    return json.loads((_RECORDED / f"{name}.json").read_text())["body"]


def post(server: Server, path: str, body: Any) -> Any:
    """What the server answers; it must not refuse."""
    response = requests.post(f"{server.url}{path}", json=body, timeout=_ANSWER_SECONDS)
    assert response.ok, response.text
    return response.json()


def make_click(points: int) -> tuple[Any, Mask]:
    """A recorded interactive request with so many points on an image of ours, and the engine's own mask for them."""
    # A bright box, under the first of the recorded points, on noise.
    pixels = np.random.default_rng(3).integers(40, 60, (*SHAPE, 3), np.uint8)
    pixels[150:280, 120:310] += 150
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG")
    body = read_body(f"predict_interactive_{points}_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    clicks = [
        Click(point["value"]["x"] / 100 * SHAPE[1], point["value"]["y"] / 100 * SHAPE[0], point["is_positive"])
        for point in body["params"]["context"]["result"]
    ]
    return body, load_engine(load_settings(TINY).engine_config()).segment(pixels, clicks).mask


class ModelServerTests:
    """Of a generation: its tests give the fixture ``server``, which is set up as Label Studio does it."""

    @pytest.fixture
    def ask(self, server: Server) -> Callable[[str, Any], Any]:
        """What the server answers to a body."""

        return functools.partial(post, server)

    def test_the_server_is_up(self, server: Server) -> None:
        assert requests.get(f"{server.url}/health", timeout=_ANSWER_SECONDS).json()["status"] == "UP"

    @pytest.mark.parametrize("points", [1, 2, 3])
    def test_a_click_has_the_mask_of_the_engine(self, ask: Callable[[str, Any], Any], points: int) -> None:
        body, expected = make_click(points)
        ((region,),) = [prediction["result"] for prediction in ask("/predict", body)["results"]]
        assert (region["type"], region["value"]["brushlabels"]) == ("brushlabels", ["Cat"])
        np.testing.assert_array_equal(brush_rle.decode(region["value"]["rle"], SHAPE), expected)

    def test_a_batch_has_one_empty_list_a_task(self, ask: Callable[[str, Any], Any]) -> None:
        assert ask("/predict", read_body("predict_batch_2_tasks"))["results"] == [[], []]

    def test_what_cannot_be_answered_is_an_empty_result(self, ask: Callable[[str, Any], Any]) -> None:
        body = read_body("predict_interactive_1_points")
        body["tasks"][0]["data"]["image"] = "file:///etc/passwd"
        (prediction,) = ask("/predict", body)["results"]
        assert prediction["result"] == []
