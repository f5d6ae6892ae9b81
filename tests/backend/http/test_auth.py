from __future__ import annotations

import base64
import hmac

import pytest

ENVIRON = {"M2N2_BASIC_AUTH_USER": "studio", "M2N2_BASIC_AUTH_PASSWORD": "pass:word"}
PATHS = ["/", "/health", "/ready", "/metrics", "/versions", "/nothing/here"]


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.fixture
def client(make_client):
    return make_client(ENVIRON)


@pytest.mark.parametrize("path", PATHS)
def test_without_credentials_every_path_answers_401(client, path):
    response = client.get(path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].lower().startswith("basic realm=")
    assert response.json["error"]["type"] == "Unauthorized"
    assert "M2N2_BASIC_AUTH_USER" in response.json["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        basic("studio:wrong"),
        basic("other:pass:word"),
        basic(":"),
        basic("studio"),
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer pass:word"},
        {"Authorization": "Digest username=studio"},
        basic("stüdio:pässword"),
    ],
)
def test_wrong_credentials_answer_401(client, headers):
    assert client.get("/health", headers=headers).status_code == 401
    assert client.post("/predict", json={"tasks": []}, headers=headers).status_code == 401


def test_the_right_ones_are_let_in(client):
    assert client.get("/health", headers=basic("studio:pass:word")).status_code == 200
    assert client.post("/predict", json={"tasks": []}, headers=basic("studio:pass:word")).json == {"results": []}


def test_webhook_is_open_for_label_studio_sends_no_credentials_there(client):
    assert client.post("/webhook", json={"action": "PROJECT_UPDATED"}).status_code == 204


def test_credentials_are_compared_in_constant_time(client, monkeypatch):
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or True)
    assert client.get("/health", headers=basic("a:b")).status_code == 200
    assert compared == [(b"a:b", b"studio:pass:word")]


def test_without_the_settings_nothing_is_asked_for(make_client):
    assert make_client().get("/health").status_code == 200
