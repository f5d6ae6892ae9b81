"""deploy/cvat/proposer.py between as much of CVAT as it asks for and the real server."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
import pytest
import requests
from cvat_sdk.masks import decode_mask, encode_mask

from m2n2_engine.types import Image, Mask
from tests.helpers.cvat_stub import FUNCTION_ID, TASK_ID, CvatStub

from .conftest import SHAPE, TINY, CvatServer

FILE = Path(__file__).parents[2] / "deploy" / "cvat" / "proposer.py"
RUN_SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CvatServer]:
    """With a preset that can start from a mask, as proposals do."""
    environ = {**TINY, "M2N2_PRESET": "consensus"}
    with CvatServer(environ, tmp_path_factory.mktemp("proposing") / "server.log") as server:
        yield server


@dataclasses.dataclass(frozen=True)
class Context(cvataa.DetectionFunctionContext):
    frame_name: str = "frame.png"
    conf_threshold: float | None = 0.0
    conv_mask_to_poly: bool = False


def draw_object() -> tuple[Image, Mask]:
    """A bright box on dark noise, the task's one frame, and the box."""
    pixels = np.random.default_rng(3).integers(40, 60, (*SHAPE, 3), np.uint8)
    mask = np.zeros(SHAPE, bool)
    mask[30:90, 40:110] = True
    pixels[mask] += 150
    return pixels, mask


@pytest.fixture
def cvat() -> Iterator[CvatStub]:
    file = io.BytesIO()
    PIL.Image.fromarray(draw_object()[0]).save(file, "PNG")
    with CvatStub(file.getvalue()) as cvat:
        cvat.labels = [
            {"id": 31, "name": "box", "color": "#ff0000", "attributes": [], "type": "any", "sublabels": []},
            {"id": 32, "name": "sky", "color": "#00ff00", "attributes": [], "type": "any", "sublabels": []},
        ]
        yield cvat


def make_shape(label: int, points: list[float], kind: str = "mask", frame: int = 0) -> dict[str, Any]:
    fields = {"id": 1, "occluded": False, "outside": False, "z_order": 0, "rotation": 0.0, "attributes": []}
    return {"type": kind, "label_id": label, "frame": frame, "points": points, "group": 0, "source": "manual", **fields}


@pytest.fixture
def annotated(cvat: CvatStub) -> CvatStub:
    cvat.shapes = [make_shape(31, encode_mask(draw_object()[1]))]
    return cvat


def load(server: CvatServer, cvat: CvatStub, **parameters: Any) -> Any:
    given = {"labels": "box, sky", "task": TASK_ID, "url": server.url, "cvat": cvat.url, **parameters}
    return runpy.run_path(str(FILE))["create"](**given)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "token")
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_frame_like_the_annotated_one_has_its_object(server: CvatServer, annotated: CvatStub) -> None:
    pixels, mask = draw_object()
    function = load(server, annotated)
    assert [label.name for label in function.spec.labels] == ["box", "sky"]
    shapes = function.detect(Context(), PIL.Image.fromarray(pixels))
    assert {shape.label_id for shape in shapes} == {1}
    found = decode_mask(shapes[0].points, image_width=SHAPE[1], image_height=SHAPE[0])
    assert found[mask].mean() > 0.5
    assert annotated.frames_sent == 1
    function.detect(Context(), PIL.Image.fromarray(pixels))
    assert annotated.frames_sent == 1, "what is known is not fetched again"


def test_outlines_are_given_where_cvat_wants_them(server: CvatServer, annotated: CvatStub) -> None:
    (shape, *_) = load(server, annotated).detect(Context(conv_mask_to_poly=True), PIL.Image.fromarray(draw_object()[0]))
    assert (str(shape.type), shape.label_id) == ("polygon", 1)
    assert len(shape.points) >= 6


def test_polygons_are_examples_too(server: CvatServer, cvat: CvatStub) -> None:
    cvat.shapes = [make_shape(31, [40, 30, 110, 30, 110, 90, 40, 90], "polygon")]
    assert load(server, cvat).detect(Context(), PIL.Image.fromarray(draw_object()[0]))


def test_what_is_less_sure_than_cvat_wants_is_left_out(server: CvatServer, annotated: CvatStub) -> None:
    function = load(server, annotated)
    assert function.detect(Context(conf_threshold=1.0), PIL.Image.fromarray(draw_object()[0])) == []


@pytest.mark.parametrize("shapes", [[], [make_shape(31, [1, 1, 5, 5], "rectangle")], [make_shape(99, [1, 1, 1, 1, 1])]])
def test_without_examples_the_annotator_is_told(
    server: CvatServer, cvat: CvatStub, shapes: list[dict[str, Any]]
) -> None:
    cvat.shapes = shapes
    with pytest.raises(cvataa.BadFunctionError, match="task 7 has no masks or polygons with the labels box, sky"):
        load(server, cvat).detect(Context(), PIL.Image.fromarray(draw_object()[0]))


def test_the_server_s_reason_is_passed_on(server: CvatServer, annotated: CvatStub) -> None:
    annotated.shapes = [make_shape(31, [1, 0, 0, 500, 500])]
    with pytest.raises(cvataa.BadFunctionError, match="400 a mask with the box 0, 0, 500, 500 is none of a frame"):
        load(server, annotated).detect(Context(), PIL.Image.fromarray(draw_object()[0]))
    with pytest.raises(cvataa.BadFunctionError, match="gives no answer"):
        load(server, cvat=annotated, url="http://127.0.0.1:1").detect(Context(), PIL.Image.fromarray(draw_object()[0]))


def test_cvat_s_own_agent_runs_it(server: CvatServer, annotated: CvatStub, tmp_path: Path) -> None:
    parameters = ["labels=str:box", f"task=int:{TASK_ID}", f"cvat=str:{annotated.url}", f"url=str:{server.url}"]
    options = [option for parameter in parameters for option in ("-p", parameter)]

    def run(name: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "cvat_cli", "--server-host", annotated.url, "function", name, *arguments]
        command += ["--function-file", str(FILE), *options]
        return subprocess.run(
            command,
            env=dict(os.environ),
            cwd=tmp_path,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=RUN_SECONDS,
        ).stdout

    run("create-native", "M2N2 proposals")
    (function,) = annotated.functions
    assert (function["kind"], [label["name"] for label in function["labels_v2"]]) == ("detector", ["box"])
    mapping = {"box": {"name": "box", "attributes": {}}}
    asked = {"type": "annotate_frame", "task": TASK_ID, "frame": 0, "threshold": 0.01, "conv_mask_to_poly": False}
    annotated.queue.append({**asked, "mapping": mapping})
    run("run-agent", str(FUNCTION_ID), "--burst")
    (result,) = annotated.results
    assert result["outcome"] == "complete", result
    shapes = result["annotations"]["shapes"]
    assert shapes
    assert {(shape["label_id"], shape["type"]) for shape in shapes} == {(31, "mask")}


def ask(server: CvatServer, body: Mapping[str, Any]) -> requests.Response:
    return requests.post(f"{server.url}/cvat/propose", json=body, timeout=RUN_SECONDS)


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        ([], "examples"),
        ([{"masks": []}], "examples.0.image"),
        ([{"masks": [{"label": "", "points": [1, 0, 0, 0, 0]}]}], "label"),
        ([{"masks": [{"label": "a", "points": [1, 0, 0]}]}], "points"),
        ([{"masks": [{"label": "a", "points": [3, 0, 0, 1, 1]}]}], "the runs of a mask are 3 pixels long"),
        ([{"masks": [{"label": "a", "points": [1, 2, 2, 1, 1]}]}], "is none of a frame 160 x 120"),
    ],
)
def test_bad_examples_are_refused_with_a_reason(
    server: CvatServer, image: str, examples: list[dict[str, Any]], reason: str
) -> None:
    given = [{**example, **({} if example["masks"] == [] else {"image": image})} for example in examples]
    response = ask(server, {"image": image, "examples": given})
    assert response.status_code == 400
    assert reason in response.json()["error"]["message"]


def test_a_mask_without_a_pixel_is_no_example(server: CvatServer, image: str) -> None:
    empty = {"image": image, "masks": [{"label": "a", "points": [1, 0, 0, 0, 0]}]}
    assert ask(server, {"image": image, "examples": [empty]}).json() == {"shapes": []}


def test_no_frame_passes_the_network_twice(server: CvatServer, image: str) -> None:
    assert base64.b64decode(image)
    body = {"image": image, "examples": [{"image": image, "masks": [{"label": "a", "points": [0, 4, 5, 5, 6, 6]}]}]}
    before = server.passes
    ask(server, body)
    # The frame, and the part of it that shows the small example larger.
    assert server.passes == before + 2
    ask(server, body)
    assert server.passes == before + 2
