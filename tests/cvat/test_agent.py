"""deploy/cvat/agent.py as cvat-cli's own agent runs it, between as much of CVAT as it asks for and the real server."""

from __future__ import annotations

import base64
import dataclasses
import http.server
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
import pytest
from cvat_sdk.masks import decode_mask

from m2n2_engine.types import Image
from tests.helpers.cvat_stub import FUNCTION_ID, TASK_ID, CvatStub

from .conftest import SHAPE, CvatServer, FindMask

FILE = Path(__file__).parents[2] / "deploy" / "cvat" / "agent.py"
POINTS = [[30.5, 40.25], [90, 60], [140, 100.5]]
RUN_SECONDS = 120

Run = Callable[..., str]


@pytest.fixture
def cvat(image: str) -> Iterator[CvatStub]:
    with CvatStub(base64.b64decode(image)) as cvat:
        yield cvat


@pytest.fixture
def run(cvat: CvatStub, tmp_path: Path) -> Run:
    """A command of cvat-cli for functions; what it prints."""
    environ = {**os.environ, "CVAT_ACCESS_TOKEN": "token", "HOME": str(tmp_path)}

    def call(name: str, *arguments: str, url: str) -> str:
        command = [sys.executable, "-m", "cvat_cli", "--server-host", cvat.url, "function", name, *arguments]
        command += ["--function-file", str(FILE), "-p", f"url=str:{url}"]
        return subprocess.run(
            command, env=environ, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=RUN_SECONDS
        ).stdout

    return call


def ask(cvat: CvatStub, positive: Any, negative: Any = (), box: Any = ()) -> None:
    prompts = {"pos_points": positive, "neg_points": negative, "obj_bbox": box}
    cvat.queue.append({"type": "interact", "task": TASK_ID, "frame": 0, **prompts})


def read_mask(result: dict[str, Any]) -> Any:
    (shape,) = result["shapes"]
    assert (result["outcome"], shape["type"]) == ("complete", "mask")
    return decode_mask(shape["points"], image_width=SHAPE[1], image_height=SHAPE[0])


def test_three_clicks_are_one_preparation_and_have_the_engine_s_masks(
    run: Run, cvat: CvatStub, server: CvatServer, find_mask: FindMask
) -> None:
    before = server.passes
    assert int(run("create-native", "M2N2", url=server.url)) == FUNCTION_ID
    (function,) = cvat.functions
    assert (function["kind"], function["min_pos_points"], function["min_neg_points"]) == ("interactor", 0, 0)
    assert function["startswith_box_optional"] is True
    box = [[10, 20], [100, 110]]
    prompts: list[tuple[Any, ...]] = [(POINTS[:1],), (POINTS[:2], POINTS[2:]), (POINTS[:1], [], box), ([], [], box)]
    for prompt in [*prompts, ([[500, 1]],)]:
        ask(cvat, *prompt)
    run("run-agent", str(FUNCTION_ID), "--burst", url=server.url)
    *answers, refusal = cvat.results
    for prompt, answer in zip(prompts, answers, strict=True):
        np.testing.assert_array_equal(read_mask(answer), find_mask(*prompt))
    assert (cvat.frames_sent, server.passes) == (1, before + 1)
    assert refusal["outcome"] == "fail"
    assert "the M2N2 server refuses: 400 the click (500, 1) lies outside of the image" in refusal["exc_info"]
    # CVAT's page hides what is below 0.5 until somebody moves its slider.
    for answer in answers:
        ((confidence,),) = (shape["attributes"] for shape in answer["shapes"])
        assert confidence["spec_id"] == cvataa.InteractionResultAttributes.CONFIDENCE
        assert 0.5 <= float(confidence["value"]) <= 1


def test_an_sdk_that_knows_no_confidence_gets_none(
    monkeypatch: pytest.MonkeyPatch, server: CvatServer, frame: Image
) -> None:
    monkeypatch.delattr(cvataa, "InteractionResultAttributes")
    (shape,) = click(load(server.url), frame)
    assert (shape.type, shape.attributes) == ("mask", [])


def load(url: str, **parameters: float) -> Any:
    return runpy.run_path(str(FILE))["create"](url=url, **parameters)


@dataclasses.dataclass(frozen=True)
class Prompts(cvataa.InteractionPrompts):
    pos_points: Any = ()
    neg_points: Any = ()
    bounding_box: Any = None


def click(function: Any, frame: Image) -> Any:
    """What the function answers CVAT's driver for a click on the frame."""
    handle = function.preprocess_image(None, PIL.Image.fromarray(frame))
    return function.detect(None, handle, Prompts(POINTS[:1]))


def test_credentials_are_sent(monkeypatch: pytest.MonkeyPatch, frame: Image) -> None:
    monkeypatch.setenv("M2N2_BASIC_AUTH_USER", "cvat")
    monkeypatch.setenv("M2N2_BASIC_AUTH_PASSWORD", "pass:word")
    sent: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(401)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = RUN_SECONDS
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        with pytest.raises(cvataa.BadFunctionError, match="the M2N2 server refuses: 401"):
            click(load(f"http://127.0.0.1:{server.server_port}"), frame)
        thread.join()
    assert sent == ["Basic " + base64.b64encode(b"cvat:pass:word").decode()]


def test_no_server(frame: Image) -> None:
    with pytest.raises(cvataa.BadFunctionError, match=r"gives no answer: .*refused"):
        click(load("http://127.0.0.1:1"), frame)


def test_a_server_that_does_not_answer_in_time(frame: Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        function = load(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.1)
        with pytest.raises(cvataa.BadFunctionError, match="gives no answer: timed out"):
            click(function, frame)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_a_handle_is_a_file_that_is_gone_with_it(mode: str) -> None:
    image = PIL.Image.new(mode, (40, 30))
    handle = load("http://localhost:9090").preprocess_image(None, image)
    with PIL.Image.open(handle.path) as saved:
        assert saved.size == (40, 30)
    path = handle.path
    del handle
    assert not path.exists()


def test_the_pixels_reach_the_server_as_they_are(frame: Image) -> None:
    handle = load("http://localhost:9090").preprocess_image(None, PIL.Image.fromarray(frame))
    with PIL.Image.open(handle.path) as saved:
        np.testing.assert_array_equal(np.asarray(saved), frame)
