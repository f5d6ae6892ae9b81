"""Whatever is sent, every endpoint gives a reason: no 5xx, no traceback, no hang, and the memory stays flat."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import requests
import schemathesis
import yaml
from hypothesis import strategies as st
from PIL import Image as PillowImage

DATA = Path(__file__).parents[1] / "data" / "label_studio"
OPENAPI = Path(__file__).parents[2] / "deploy" / "openapi.yaml"
OPERATIONS = [
    (method.upper(), path)
    for path, methods in yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))["paths"].items()
    for method in methods
]
IS_FULL = os.environ.get("SOAK") == "1"
# Bodies of each test below, the first number for each platform, the last for each operation; more than 20,000 in all in
# the full run.
MUTATED, ARBITRARY, DESCRIBED = (7500, 3500, 250) if IS_FULL else (150, 100, 10)
LONGEST_ANSWER_SECONDS = 20
MOST_GROWTH_BYTES = 48 * 1024 * 1024
ERROR_KEYS = {"type", "message", "request_id"}


def settings(examples):
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=not IS_FULL,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def make_reference(width, height, image_format="PNG"):
    """A small image in a data: URI."""
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, image_format)
    return f"data:image/{image_format.lower()};base64," + base64.b64encode(file.getvalue()).decode()


REFERENCES = [
    make_reference(32, 24),
    make_reference(1, 1),
    make_reference(7, 40, "JPEG"),
    make_reference(32, 24)[:90],
    "data:,",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>",
    "/data/upload/1/a.png",
    "/data/local-files/?d=../../etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:1/a.png",
    "http://169.254.169.254/latest/meta-data",
    "s3://bucket/key",
    "\x00",
    "",
]
RECORDED = [json.loads(path.read_text())["body"] for path in sorted(DATA.glob("predict_*.json"))]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**15, 10**40)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["keypointlabels", "rectanglelabels", "image", "$image", "Cat", *REFERENCES]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated_requests(draw):
    """A recorded request with an image that can be had, most of the time, and up to four places changed."""
    body = json.loads(json.dumps(draw(st.sampled_from(RECORDED))))
    reference = draw(st.sampled_from(REFERENCES[:3]) | st.sampled_from(REFERENCES))
    for task in body["tasks"]:
        task["data"]["image"] = reference
    for _ in range(draw(st.integers(0, 4))):
        mutate(draw, body)
    return body


@st.composite
def mutated_frames(draw):
    """The same of a request of CVAT's."""
    reference = draw(st.sampled_from(REFERENCES[:3]) | st.sampled_from(REFERENCES))
    points = [[3, 4.5], [20.25, 10]]
    body = {"image": reference.partition(",")[2], "pos_points": points, "neg_points": [[1, 1]], "obj_bbox": points}
    for _ in range(draw(st.integers(0, 4))):
        mutate(draw, body)
    return body


def mutate(draw, node):
    """Replace, remove or repeat one value somewhere below a node."""
    while True:
        places = sorted(node) if isinstance(node, dict) else range(len(node))
        if not places:
            return
        place = draw(st.sampled_from(places))
        child = node[place]
        if isinstance(child, dict | list) and child and draw(st.integers(0, 4)):
            node = child
            continue
        match draw(st.sampled_from(["replace", "number", "remove", "repeat"])):
            case "replace":
                node[place] = draw(json_values)
            case "number":
                node[place] = draw(st.floats(-10, 110) | st.integers(-2, 1200))
            case "remove":
                del node[place]
            case "repeat" if isinstance(node, list):
                node.insert(place, child)
        return


def check(response):
    """A reason for everything that is not an answer; never the server's own fault."""
    assert response.status_code < 500, response.text
    assert response.elapsed.total_seconds() < LONGEST_ANSWER_SECONDS
    assert response.headers["X-Request-ID"]
    assert "Traceback" not in response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert set(error) == ERROR_KEYS
        assert error["message"]


@pytest.fixture(scope="module")
def send(tiny_server):
    with requests.Session() as session:

        def send(method, path, body):
            response = session.request(method, tiny_server.url + path, data=body, timeout=LONGEST_ANSWER_SECONDS)
            check(response)
            return response

        yield send


@pytest.fixture(scope="module", autouse=True)
def memory_and_log(tiny_server, send):
    """The server has seen every kind of body before its memory is read; it must not grow with their number."""
    for reference in REFERENCES:
        body = {**RECORDED[-1], "tasks": [{"id": 1, "data": {"image": reference}}]}
        send("POST", "/predict", json.dumps(body))
    before = tiny_server.read_metric("process_resident_memory_bytes")
    yield
    growth = tiny_server.read_metric("process_resident_memory_bytes") - before
    bodies = 2 * MUTATED + ARBITRARY + len(OPERATIONS) * DESCRIBED
    sys.stdout.write(f"\nfuzzing: {bodies} bodies, memory grew by {growth / 1e6:.1f} MB\n")
    assert growth < MOST_GROWTH_BYTES
    log = tiny_server.read_log()
    assert "Traceback" not in log
    assert all(json.loads(line)["level"] != "ERROR" for line in log.splitlines())
    assert tiny_server.read_metric("m2n2_queue_admitted") == 0


@hypothesis.given(body=mutated_requests())
@settings(MUTATED)
def test_changed_requests_of_label_studio(send, body):
    response = send("POST", "/predict", json.dumps(body))
    if response.status_code == 200:
        for prediction in response.json()["results"]:
            assert prediction == [] or (0 <= prediction["score"] <= 1 and not math.isnan(prediction["score"]))


@hypothesis.given(body=mutated_frames())
@settings(MUTATED)
def test_changed_requests_of_cvat(send, body):
    response = send("POST", "/cvat/", json.dumps(body))
    if response.status_code == 200:
        (answer,) = response.json().values()
        assert answer


@hypothesis.given(
    path=st.sampled_from(["/predict", "/setup", "/webhook", "/health", "/", "/cvat/", "/cvat/api/functions"]),
    body=st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()),
)
@settings(ARBITRARY)
def test_arbitrary_bodies(send, path, body):
    send("POST", path, body)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_requests_by_the_openapi_file(tiny_server, method, path):
    operation = schemathesis.openapi.from_path(OPENAPI)[path][method]

    @hypothesis.given(data=st.data())
    @settings(DESCRIBED)
    def run(data):
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        response = case.call(base_url=tiny_server.url, timeout=LONGEST_ANSWER_SECONDS)
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=[schemathesis.checks.response_schema_conformance])

    run()
