"""The nuclio functions of deploy/cvat/nuclio under nuclio_sdk's test platform, in front of the real server."""

from __future__ import annotations

import base64
import http.server
import importlib
import json
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nuclio_sdk
import nuclio_sdk.test
import numpy as np
import pytest
import yaml

from backend.cvat.function import describe_function
from backend.settings import load_settings
from backend.tools.local_server import find_port
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.types import State

from .conftest import CvatServer, FindMask

FOLDER = Path(__file__).parents[2] / "deploy" / "cvat" / "nuclio"
FILES = ["function.yaml", "function-gpu.yaml"]
POINTS = [[30.5, 40.25], [90, 60], [140, 100.5]]

STOP_SECONDS = 30

Call = Callable[..., Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a handler as nuclio does: by its module's name, from its folder."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in ("main", "with_server"):
        sys.modules.pop(name, None)


@pytest.fixture
def call(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The function's answer, once it is started with this environment."""
    platform = nuclio_sdk.test.Platform()

    def run(body: Any, **environ: str) -> Any:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return platform.call_handler(load("main").handler, nuclio_sdk.Event(body=body))

    return run


def test_three_clicks_are_one_preparation_and_have_the_engine_s_masks(
    call: Call, server: CvatServer, image: str, find_mask: FindMask
) -> None:
    before = server.passes
    for count in (1, 2, 3):
        body = {"image": image, "pos_points": POINTS[:count], "neg_points": [], "obj_bbox": []}
        response = call(body, SERVER_URL=f"{server.url}/")
        assert (response.status_code, response.content_type) == (200, "application/json")
        np.testing.assert_array_equal(json.loads(response.body)["mask"], find_mask(POINTS[:count]))
    assert server.passes == before + 1


def test_a_body_that_nuclio_did_not_read_is_passed_on(call: Call, server: CvatServer, image: str) -> None:
    body = json.dumps({"image": image, "pos_points": POINTS}).encode()
    assert call(body, SERVER_URL=server.url).status_code == 200


def test_what_the_server_refuses_is_passed_on_and_logged(
    call: Call, server: CvatServer, caplog: pytest.LogCaptureFixture
) -> None:
    response = call({"image": "aGVsbG8=", "pos_points": POINTS}, SERVER_URL=server.url)
    assert response.status_code == 400
    assert "these 5 bytes are no image file" in json.loads(response.body)["error"]["message"]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "these 5 bytes are no image file" in vars(record)["with"]["answer"]


def test_no_server(call: Call) -> None:
    response = call({"image": ""}, SERVER_URL=f"http://127.0.0.1:{find_port()}")
    assert response.status_code == 502
    assert "refused" in json.loads(response.body)["error"]["message"]


def test_a_server_that_does_not_answer_in_time(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        response = call({"image": ""}, SERVER_URL=url, SERVER_TIMEOUT_SECONDS="0.1")
    assert response.status_code == 504


def test_without_an_address_it_does_not_start(call: Call) -> None:
    with pytest.raises(RuntimeError, match="SERVER_URL is not set"):
        call({})


def test_credentials_are_sent(call: Call, tmp_path: Path, image: str) -> None:
    credentials = {"M2N2_BASIC_AUTH_USER": "cvat", "M2N2_BASIC_AUTH_PASSWORD": "pass:word"}
    seen: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_error(401)

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        response = call({"image": image}, SERVER_URL=f"http://127.0.0.1:{server.server_port}", **credentials)
        thread.join()
    assert response.status_code == 401
    assert seen == ["Basic " + base64.b64encode(b"cvat:pass:word").decode()]


def test_the_function_with_a_server_of_its_own_starts_one_and_starts_it_again(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    function = load("with_server")
    port = find_port()
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(ONE_ANSWER)} {port}"
    environ = {"COMMAND": command, "FOLDER": str(tmp_path), "URL": f"http://127.0.0.1:{port}"}
    for name, value in {**environ, "LOCK": str(tmp_path / "lock")}.items():
        monkeypatch.setenv(f"SERVER_{name}", value)
    # Two of nuclio's workers.
    contexts = [nuclio_sdk.Context(nuclio_sdk.test.Platform().context.logger) for _ in range(2)]
    for context in contexts:
        function.init_context(context)
    first, second = (context.user_data for context in contexts)
    assert not hasattr(second, "server")
    try:
        for owner in (first, second):
            assert ask_until_answered(function, contexts[1]).body == "hello"
            # It ends after one answer; the next one is started by the worker that misses it.
            assert owner.server.wait(STOP_SECONDS) == 0
    finally:
        for owner in (first, second):
            if hasattr(owner, "server"):
                owner.server.kill()
                owner.server.wait()


ONE_ANSWER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).handle_request()
"""


def ask_until_answered(function: ModuleType, context: Any) -> Any:
    """A server needs its time to start."""
    deadline = time.monotonic() + 30
    while (response := function.handler(context, nuclio_sdk.Event(body={}))).status_code == 502:
        assert time.monotonic() < deadline
    return response


@pytest.mark.parametrize("name", FILES)
def test_the_files_describe_the_function_as_the_server_does(name: str) -> None:
    function = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    described = describe_function(State.READY, 9090)
    assert function["metadata"]["name"] == described["metadata"]["name"]
    assert function["metadata"]["annotations"] == described["metadata"]["annotations"]
    assert function["spec"]["description"] == described["spec"]["description"]
    module, handler = function["spec"]["handler"].split(":")
    assert f"def {handler}(context: Any, event: Any)" in (FOLDER / f"{module}.py").read_text(encoding="utf-8")
    (trigger,) = function["spec"]["triggers"].values()
    assert trigger["attributes"]["maxRequestBodySize"] == load_settings({}).max_body_mib * MEBIBYTE


def test_only_the_one_that_runs_the_server_takes_a_gpu() -> None:
    thin, with_gpu = (yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["spec"] for name in FILES)
    assert "resources" not in thin
    assert with_gpu["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert {variable["name"] for variable in with_gpu["env"]} >= {"SERVER_COMMAND", "SERVER_FOLDER", "SERVER_URL"}
