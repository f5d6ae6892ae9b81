"""The exchange of a personal access token, against a server on loopback."""

from __future__ import annotations

import base64
import json

import pytest
import requests
from pydantic import SecretStr

from backend.errors import ImageUnavailable
from backend.net.label_studio_auth import LabelStudioAuth

PERSONAL = "header.payload.signature"
REFRESH = "/api/token/refresh/"


def make_access(**claims):
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"h.{payload}.s"


@pytest.fixture
def clock():
    """The time in seconds; it stands still until it is set."""
    return [1000.0]


@pytest.fixture
def ask(server, clock):
    """The Authorization header of one request."""
    auth = LabelStudioAuth(server.url, SecretStr(PERSONAL), timeout_seconds=5, clock=lambda: clock[0])
    return lambda: auth(requests.Request("GET", server.url).prepare()).headers["Authorization"]


def grant(server, token):
    server.answer(REFRESH, json.dumps({"access": token}).encode())


def test_a_legacy_token_is_sent_as_it_is(server):
    auth = LabelStudioAuth(server.url, SecretStr("0123abcd"), timeout_seconds=5)
    assert auth(requests.Request("GET", server.url).prepare()).headers["Authorization"] == "Token 0123abcd"
    assert server.seen == []


def test_a_personal_token_is_exchanged_once_until_it_nearly_expires(server, ask, clock):
    access = make_access(iat=5_000_000, exp=5_000_300)
    grant(server, access)
    assert ask() == f"Bearer {access}"
    clock[0] += 269
    assert ask() == f"Bearer {access}"
    assert len(server.seen) == 1
    method, path, authorization, body = server.seen[0]
    assert (method, path, authorization, json.loads(body)) == ("POST", REFRESH, None, {"refresh": PERSONAL})
    grant(server, "h.e.s")
    clock[0] += 2
    assert ask() == "Bearer h.e.s"


@pytest.mark.parametrize(
    "token", ["opaque", "a.b.c", make_access(exp=1), "a." + base64.urlsafe_b64encode(b"[]").decode() + ".c"]
)
def test_a_token_without_times_is_kept_for_a_short_while(server, ask, clock, token):
    grant(server, token)
    ask()
    clock[0] += 29
    ask()
    assert len(server.seen) == 1
    clock[0] += 2
    ask()
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b'{"detail": "Token is invalid"}', "make a new personal access token"),
        (500, b"oops", "status 500"),
        (200, b"<html>", "check LABEL_STUDIO_URL"),
        (200, b"[]", "check LABEL_STUDIO_URL"),
        (302, b"", "status 302"),
    ],
)
def test_a_refusal_names_the_remedy_and_not_the_token(server, ask, status, body, message):
    server.answer(REFRESH, body, status=status, Location="http://other.example.com/")
    with pytest.raises(ImageUnavailable, match=message) as caught:
        ask()
    assert PERSONAL not in str(caught.value)
    assert len(server.seen) == 1


def test_a_server_that_is_down_is_named(server, ask):
    server.close()
    with pytest.raises(ImageUnavailable, match=r"gives no answer \(ConnectionError\)"):
        ask()


def test_an_answer_that_drips_in_is_given_up(make_raw_server):
    def talk(connection, closing):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not closing.wait(0.01):
            connection.sendall(b" ")

    auth = LabelStudioAuth(make_raw_server(talk).url, SecretStr(PERSONAL), timeout_seconds=0.2)
    with pytest.raises(ImageUnavailable, match=r"grants no access token|gives no answer"):
        auth(requests.Request("GET", "http://here").prepare())


def test_an_endless_answer_is_given_up(make_raw_server):
    def talk(connection, closing):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not closing.is_set():
            connection.sendall(b" " * 65536)

    auth = LabelStudioAuth(make_raw_server(talk).url, SecretStr(PERSONAL), timeout_seconds=60)
    with pytest.raises(ImageUnavailable, match="grants no access token"):
        auth(requests.Request("GET", "http://here").prepare())
