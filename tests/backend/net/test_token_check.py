"""What Label Studio says of the token, against a server on loopback, and how often it is asked."""

from __future__ import annotations

import json
import threading

import pytest
from pydantic import SecretStr

from backend.net.token_check import TokenCheck, TokenState, TokenStatus, ask_label_studio

PERSONAL = "header.payload.signature"
REFRESH, WHO = "/api/token/refresh/", "/api/current-user/whoami"
GRANT = json.dumps({"access": "h.access.s"}).encode()


def ask(server, key):
    return ask_label_studio(server.url, SecretStr(key))


def test_a_legacy_token_that_is_accepted(server):
    server.answer(WHO, b"{}")
    assert ask(server, "0123abcd") == TokenStatus(TokenState.ACCEPTED)
    assert [(path, header) for _, path, header, _ in server.seen] == [(WHO, "Token 0123abcd")]


def test_a_personal_token_that_is_accepted(server):
    server.answer(REFRESH, GRANT)
    server.answer(WHO, b"{}")
    assert ask(server, PERSONAL) == TokenStatus(TokenState.ACCEPTED)
    assert [(path, header) for _, path, header, _ in server.seen] == [(REFRESH, None), (WHO, "Bearer h.access.s")]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("key", "path"), [("0123abcd", WHO), (PERSONAL, REFRESH), (PERSONAL, WHO)])
def test_a_token_that_is_refused(server, key, path, status):
    server.answer(REFRESH, GRANT)
    server.answer(path, b"{}", status=status)
    found = ask(server, key)
    assert found.state is TokenState.REFUSED
    assert f"status {status}" in found.reason
    assert "make a new personal access token there" in found.reason
    assert key not in found.reason


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [(WHO, 500, b""), (WHO, 302, b""), (REFRESH, 502, b""), (REFRESH, 200, b"<html>"), (REFRESH, 200, b"[]")],
)
def test_an_answer_that_tells_nothing_of_the_token(server, path, status, body):
    server.answer(REFRESH, GRANT)
    server.answer(path, body, status=status)
    found = ask(server, PERSONAL)
    assert found.state is TokenState.UNREACHABLE
    assert "check LABEL_STUDIO_URL" in found.reason


def test_a_label_studio_that_does_not_run():
    found = ask_label_studio("http://127.0.0.1:9", SecretStr("0123abcd"))
    assert found.state is TokenState.UNREACHABLE
    assert "gives no answer" in found.reason


class Asked:
    """A Label Studio that answers when it is let to."""

    def __init__(self):
        self.times = 0
        self.let = threading.Semaphore(0)
        self.answer = TokenStatus(TokenState.ACCEPTED)

    def __call__(self):
        self.times += 1
        assert self.let.acquire(timeout=30)
        return self.answer


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def check(asked, clock):
    return TokenCheck(asked, clock=lambda: clock[0])


def finish():
    """Wait for the question under way, if there is one."""
    for thread in threading.enumerate():
        if thread.name == "check-token":
            thread.join(30)


def test_nobody_waits_and_one_asks(check, asked):
    assert [check.status().state for _ in range(50)] == [TokenState.UNKNOWN] * 50
    asked.let.release()
    finish()
    assert asked.times == 1
    assert check.status() == asked.answer


def test_it_is_asked_again_once_a_minute_while_somebody_looks(check, asked, clock):
    check.status()
    asked.let.release()
    finish()
    clock[0] += 59
    assert check.status().state is TokenState.ACCEPTED
    finish()
    assert asked.times == 1
    asked.answer = TokenStatus(TokenState.REFUSED, "refused")
    clock[0] += 1
    assert check.status().state is TokenState.ACCEPTED
    asked.let.release()
    finish()
    assert asked.times == 2
    assert check.status() == asked.answer


def test_what_changes_is_logged_once(check, asked, clock, caplog):
    asked.answer = TokenStatus(TokenState.REFUSED, "the token is refused")
    asked.let.release(3)
    for _ in range(3):
        check.status()
        finish()
        clock[0] += 60
    assert asked.times == 3
    assert [record.getMessage() for record in caplog.records] == ["the token is refused"]
