"""CVAT's own calls of a nuclio dashboard, one after the other, to the server as it is deployed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import requests

from backend.label_studio.brush_rle import decode
from backend.tools.load import draw_body

from .conftest import SHAPE, CvatServer, FindMask

TIMEOUT_SECONDS = 120
POINTS = [[30.5, 40.25], [90, 60], [140, 100.5]]


class Gateway:
    """CVAT's side, with its settings CVAT_NUCLIO_SCHEME, _HOST, _PORT and _INVOKE_METHOD."""

    def __init__(self, port: int, method: str = "dashboard", host: str = "127.0.0.1") -> None:
        self._root = f"http://{host}:{port}"
        self._host = host
        self._method = method

    def list(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("get", f"{self._root}/api/functions").json()
        return found

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("get", f"{self._root}/api/functions/{name}").json()
        return found

    def invoke(self, name: str, data: dict[str, Any]) -> requests.Response:
        """Two calls, as with each click."""
        port = self.get(name)["status"]["httpPort"]
        if self._method == "direct":
            return self._call("post", f"http://{self._host}:{port}/", data)
        headers = {"x-nuclio-function-name": name, "x-nuclio-path": "/"}
        return self._call("post", f"{self._root}/api/function_invocations", data, headers)

    def _call(
        self, method: str, url: str, data: Any = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        sent = {
            "x-nuclio-project-name": "cvat",
            "x-nuclio-function-namespace": "nuclio",
            "x-nuclio-invoke-via": "domain-name",
            "X-Nuclio-Invoke-Timeout": f"{TIMEOUT_SECONDS}s",
            **(headers or {}),
        }
        with requests.Session() as session:
            reply = session.request(method, url, json=data, headers=sent, timeout=TIMEOUT_SECONDS)
        reply.raise_for_status()
        return reply


@pytest.fixture(params=["dashboard", "direct"])
def gateway(server: CvatServer, request: pytest.FixtureRequest) -> Gateway:
    return Gateway(server.port, request.param)


def test_three_clicks_are_one_preparation_and_have_the_engine_s_masks(
    server: CvatServer, gateway: Gateway, image: str, find_mask: FindMask
) -> None:
    (name,) = gateway.list()
    before = server.passes
    prompts: list[dict[str, Any]] = [
        {"pos_points": POINTS[:1], "neg_points": [], "obj_bbox": []},
        {"pos_points": POINTS[:2], "neg_points": POINTS[2:], "obj_bbox": None},
        {"pos_points": POINTS[:1], "neg_points": [], "obj_bbox": [[10, 20], [100, 110]], "threshold": 0.5},
    ]
    for prompt in prompts:
        answer = gateway.invoke(name, {"image": image, **prompt})
        assert answer.headers["Content-Encoding"] == "gzip"
        expected = find_mask(prompt["pos_points"], prompt["neg_points"], prompt["obj_bbox"] or [])
        np.testing.assert_array_equal(np.array(answer.json()["mask"]), expected)
    assert server.passes == before + 1


def test_a_picture_clicked_in_both_platforms_is_prepared_once(
    server: CvatServer, image: str, find_mask: FindMask
) -> None:
    before = server.passes
    body = draw_body(1, 1, SHAPE, f"data:image/png;base64,{image}")
    (prediction,) = requests.post(f"{server.url}/predict", json=body, timeout=TIMEOUT_SECONDS).json()["results"]
    value = body["params"]["context"]["result"][0]["value"]
    point = [value["x"] / 100 * SHAPE[1], value["y"] / 100 * SHAPE[0]]
    in_label_studio = decode(prediction["result"][0]["value"]["rle"], SHAPE)
    in_cvat = Gateway(server.port).invoke("m2n2", {"image": image, "pos_points": [point]}).json()["mask"]
    np.testing.assert_array_equal(in_label_studio, np.array(in_cvat))
    np.testing.assert_array_equal(in_label_studio, find_mask([point]))
    assert server.passes == before + 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"image": "aGVsbG8="}, "400 Client Error: image data: URI of 21 characters: these 5 bytes are no image file"),
        ({"pos_points": [[500, 1]]}, r"400 Client Error: the click \(500, 1\) lies outside of the image of 160 x 120"),
        (
            {"image": "A" * 2**20},
            "413 Client Error: the body is larger than this server takes: raise M2N2_MAX_BODY_MIB",
        ),
    ],
)
def test_cvat_s_user_is_told_what_is_wrong(
    server: CvatServer, gateway: Gateway, image: str, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(requests.HTTPError, match=told) as caught:
        gateway.invoke("m2n2", {"image": image, "pos_points": POINTS, **changed})
    error = caught.value.response.json()["error"]
    assert f"{error['request_id']} {error['type']}: {error['message']}" in server.read_log()


def test_an_unknown_function(gateway: Gateway, image: str) -> None:
    with pytest.raises(requests.HTTPError, match="404 Client Error: there is no function 'sam' here, only 'm2n2'"):
        gateway.invoke("sam", {"image": image, "pos_points": POINTS})


def test_nothing_but_cvat_s_calls_is_served_at_its_port(server: CvatServer) -> None:
    for path in ("/health", "/metrics", "/webhook", "/cvat/api/functions"):
        assert requests.get(f"http://127.0.0.1:{server.port}{path}", timeout=5).status_code == 404
    assert list(requests.get(f"{server.url}/cvat/api/functions", timeout=5).json()) == ["m2n2"]
