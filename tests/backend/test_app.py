"""One shape for every error, and a status for each kind."""

from __future__ import annotations

import base64
import io
import logging

import pytest

from backend.engines.background import NotReady
from backend.errors import ImageRefused, ImageUnavailable
from m2n2_engine.errors import (
    ConfigurationError,
    InvalidClicks,
    InvalidImage,
    M2N2Error,
    OutOfMemory,
    WeightsCorrupt,
    WeightsUnavailable,
)


@pytest.fixture
def click(recorded, make_png):
    """Body of a request that reaches the segmenter."""
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    return body


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InvalidImage, 400),
        (InvalidClicks, 400),
        (ImageRefused, 403),
        (ImageUnavailable, 424),
        (WeightsUnavailable, 503),
        (WeightsCorrupt, 503),
        (OutOfMemory, 503),
        (NotReady, 503),
        (ConfigurationError, 500),
        (M2N2Error, 500),
    ],
)
def test_each_error_has_its_status(client, segmenter, click, caplog, kind, status):
    segmenter.error = kind("what was wrong: the remedy")
    response = client.post("/predict", json=click, headers={"X-Request-ID": "request-1"})
    assert response.status_code == status
    assert response.json == {
        "error": {"type": kind.__name__, "message": "what was wrong: the remedy", "request_id": "request-1"}
    }
    assert response.headers.get("Retry-After") == ("10" if status == 503 else None)
    assert f"request-1 {kind.__name__}: what was wrong: the remedy" in caplog.text


def test_an_unexpected_error_is_logged_in_full_and_told_in_short(client, segmenter, click, caplog):
    segmenter.error = RuntimeError("secret detail")
    response = client.post("/predict", json=click)
    assert response.status_code == 500
    assert response.json["error"]["type"] == "InternalError"
    assert "secret" not in response.text
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text
    assert response.json["error"]["request_id"] in caplog.text


@pytest.mark.parametrize("path", ["/predict", "/setup"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"[[]]",
        b"null",
        b"1",
        b'"text"',
        b"{",
        b"\x00",
        b"\xff\xfe",
        b'{"tasks": "\x00"}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client, path, body):
    response = client.post(path, data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.json["error"]["type"] == "InvalidRequest"
    assert response.json["error"]["message"].startswith(f"the body is not what {path} takes: ")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tasks": {}},
        {"tasks": None},
        {"tasks": [1]},
        {"tasks": [[]]},
        {"tasks": [{"data": []}]},
        {"tasks": [], "params": []},
        {"tasks": [], "params": {"context": []}},
        {"tasks": [], "params": {"context": {"result": {}}}},
        {"tasks": [], "params": {"context": {}}},
        {"tasks": [], "label_config": 1},
    ],
)
def test_wrong_types_are_refused(client, body):
    response = client.post("/predict", json=body)
    assert response.status_code == 400
    assert response.json["error"]["type"] == "InvalidRequest"


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_the_content_type_does_not_matter(client, content_type):
    response = client.post("/predict", data=b'{"tasks": []}', content_type=content_type)
    assert (response.status_code, response.json) == (200, {"results": []})


def test_a_large_body_is_refused_naming_the_setting(make_client):
    client = make_client({"M2N2_MAX_BODY_MIB": "1"})
    response = client.post("/predict", data=b" " * (1024 * 1024 + 1))
    assert response.status_code == 413
    assert response.json["error"]["type"] == "RequestEntityTooLarge"
    assert "M2N2_MAX_BODY_MIB" in response.json["error"]["message"]


@pytest.mark.parametrize("path", ["/predict", "/setup"])
def test_a_path_has_a_limit_of_its_own(make_client, path):
    setting = f"M2N2_MAX_{path[1:].upper()}_MIB"
    response = make_client({setting: "1"}).post(path, data=b" " * (1024 * 1024 + 1))
    assert response.status_code == 413
    assert response.json["error"]["message"] == f"the body is larger than this server takes: raise {setting}"


@pytest.mark.parametrize(("path", "body"), [("/predict", {"tasks": []}), ("/setup", {}), ("/cvat/", {"image": ""})])
@pytest.mark.parametrize("unused", [[[]] * 200, [[[[]]]] * 50])
def test_a_body_of_too_many_parts_is_refused_naming_the_setting(make_client, path, body, unused):
    response = make_client({"M2N2_MAX_JSON_OBJECTS": "100"}).post(path, json={**body, "unused": unused})
    assert response.status_code == 400
    assert response.json["error"]["message"].startswith(f"the body is not what {path} takes: it has more than 100 ")
    assert "M2N2_MAX_JSON_OBJECTS" in response.json["error"]["message"]


@pytest.mark.parametrize(("length", "status"), [(1024 * 1024 + 1, 413), (1024 * 1024 - 1, 400)])
def test_a_large_body_in_chunks_is_refused_too(make_client, length, status):
    response = make_client({"M2N2_MAX_BODY_MIB": "1"}).post(
        "/predict", input_stream=io.BytesIO(b" " * length), environ_overrides={"wsgi.input_terminated": True}
    )
    assert response.status_code == status


def test_an_unknown_path_has_the_same_shape(client):
    response = client.get("/nothing/here")
    assert response.status_code == 404
    assert set(response.json["error"]) == {"type", "message", "request_id"}


def test_a_wrong_method_names_the_right_one(client):
    response = client.get("/predict")
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert response.json["error"]["type"] == "MethodNotAllowed"


def test_images_of_other_hosts_are_refused(client, click):
    click["tasks"][0]["data"]["image"] = "http://other.example.com/a.png"
    response = client.post("/predict", json=click)
    assert response.status_code == 403
    assert "LABEL_STUDIO_URL" in response.json["error"]["message"]


def test_nothing_secret_is_logged(make_client, recorded, server, caplog):
    key = "0123456789abcdef-the-key"
    client = make_client({"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": key})
    with caplog.at_level(logging.DEBUG):
        client.post(
            "/predict", json=recorded("predict_interactive_1_points"), headers={"Authorization": "Basic abc123"}
        )
    assert server.seen[0][2] == f"Token {key}"
    assert "status 404" in caplog.text
    for secret in (key, "abc123", "gk4QJw-SPe"):
        assert secret not in caplog.text
