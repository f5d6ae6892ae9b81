"""The client says who it is, passes Label Studio's reasons on, and follows nobody elsewhere with the token."""

from __future__ import annotations

import json

import pytest
from pydantic import SecretStr

from backend.label_studio.client import LabelStudioClient, LabelStudioError

LEGACY = "0123abcd"


@pytest.fixture
def client(server):
    return LabelStudioClient(server.url + "/", SecretStr(LEGACY))


def test_both_kinds_of_token_open_it(server):
    access = "header.payload.access"
    server.answer("/api/token/refresh/", json.dumps({"access": access}).encode())
    server.answer("/api/projects/1/?page=2", b'{"id": 1}')
    for key, kind, authorization in (
        (LEGACY, "legacy token", f"Token {LEGACY}"),
        ("header.payload.refresh", "personal access token", f"Bearer {access}"),
    ):
        client = LabelStudioClient(server.url, SecretStr(key))
        assert client.get("/api/projects/1/", page=2) == {"id": 1}
        assert (client.token_kind, server.seen[-1][2]) == (kind, authorization)


def test_the_version_is_asked_for_without_a_token(server, client):
    server.answer("/api/version/", b'{"release": "1.23.2"}')
    assert client.get_version() == "1.23.2"
    assert server.seen[-1][2] is None


def test_an_upload_is_a_form(server, client):
    server.answer("/api/projects/3/import", b"{}", 201)
    client.upload(3, "cat.png", b"PNG")
    method, path, _, body = server.seen[-1]
    assert (method, path) == ("POST", "/api/projects/3/import")
    assert b'filename="cat.png"' in body
    assert b"PNG" in body


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, b'{"detail": "No Project matches"}', "No Project matches"),
        (400, b'{"detail": "x", "validation_errors": {"title": ["too", {"deep": "short"}]}}', "title: too short"),
        (400, b'{"validation_errors": {"title": ["a"], "label_config": ["b"]}}', "title: a; label_config: b"),
        (400, b'{"title": ["too short"]}', "title: too short"),
        (400, b'{"detail": "x", "validation_errors": {"non_field_errors": ["no such model"]}}', "no such model"),
        (400, b'{"validation_errors": ["Can not connect"]}', "Can not connect"),
        (400, b"{}", "Bad Request"),
        (404, b"<html>a page</html>", "Not Found"),
        (500, b"[]", "Internal Server Error"),
    ],
)
def test_a_refusal_has_its_status_and_reason(server, client, status, body, reason):
    server.answer("/api/x", body, status)
    with pytest.raises(LabelStudioError, match=f"/api/x answers with status {status}: {reason}$") as caught:
        client.get("/api/x")
    assert caught.value.status == status


def test_a_redirect_is_named_and_not_followed(server, client):
    server.answer("/api/x", b"", 301, Location="http://other.example.com/api/x")
    with pytest.raises(LabelStudioError, match=r"sends on to http://other\.example\.com/api/x"):
        client.get("/api/x")


def test_what_is_no_label_studio_is_named(server, client):
    server.answer("/api/x", b"<html>")
    with pytest.raises(LabelStudioError, match="answers with no JSON: check that the address"):
        client.get("/api/x")


def test_a_server_that_is_down_is_named(server, client):
    server.close()
    with pytest.raises(LabelStudioError, match=r"gives no answer \(ConnectionError\)"):
        client.get("/api/x")
