"""Clients that mean harm cost nobody else the server: /health is answered throughout, and clicks get their masks."""

from __future__ import annotations

import sys
import threading

import pytest

from tests.helpers.soak.attacks import Attack, ask_health, hold, render_head, send
from tests.helpers.soak.load import MOST_HEALTH_SECONDS

# Before, some of these attacks kept /health waiting for minutes. A busy machine may take seconds.
PATIENCE_SECONDS = 20

STALLED = ("Content-Type: application/json", "Content-Length: 100000")
ATTACKS = {
    "answers that are not closed": Attack(100, render_head("GET", "/health", "Connection: close"), is_answered=True),
    "half-sent heads": Attack(32, b"GET /health HTTP/1.1\r\nHost: he"),
    "silent connections": Attack(500, b""),
    "stalled bodies for /setup": Attack(32, render_head("POST", "/setup", *STALLED) + b"{"),
    "stalled bodies for /predict": Attack(32, render_head("POST", "/predict", *STALLED) + b"{"),
    "stalled bodies for an unknown path": Attack(400, render_head("POST", "/none", *STALLED) + b"{"),
    "stalled bodies in chunks": Attack(32, render_head("POST", "/setup", "Transfer-Encoding: chunked") + b"5\r\n{"),
    "bodies for a path without one": Attack(100, render_head("GET", "/health", *STALLED) + b"{"),
    "answers that nobody reads": Attack(40, 40 * render_head("GET", "/guide/settings.jpg")),
}


@pytest.fixture
def watch_health(tiny_server, is_full):
    """Asks for /health, in the full run over and over; the longest answer in seconds."""

    def watch(name):
        longest = ask_health(tiny_server.url, 100 if is_full else 5, PATIENCE_SECONDS)
        sys.stdout.write(f"\n{name}: /health took {longest:.3f} s at most\n")
        if is_full:
            assert longest < MOST_HEALTH_SECONDS
        return longest

    return watch


@pytest.mark.parametrize("name", ATTACKS)
def test_health_is_answered_while_connections_are_held(tiny_server, watch_health, name):
    with hold(tiny_server.url, ATTACKS[name]):
        watch_health(name)


def make_lists():
    return b'{"tasks": [{"data": {"image": ' + b"[[],[[]]]," * 600_000 + b"0}}]}"


HUGE = {
    "6 MB of lists": ("/predict", b'{"tasks": [{"data": {"image": [' + b"[[],[[]]]," * 600_000 + b"0]}}]}"),
    "60 MB of tasks": ("/predict", b'{"tasks": [' + b'{"data":{}},' * 5_000_000 + b'{"data":{}}]}'),
    "28 MB of nested XML": ("/setup", b'{"schema": "' + b"<a>" * 4_000_000 + b"</a>" * 4_000_000 + b'"}'),
}


@pytest.mark.parametrize("name", HUGE)
def test_health_is_answered_while_huge_bodies_are_sent(large_server, is_full, name):
    path, body = HUGE[name]
    request = render_head("POST", path, f"Content-Length: {len(body)}", "Connection: close") + body
    answers = []
    thread = threading.Thread(target=lambda: answers.append(send(large_server.url, request)))
    thread.start()
    longest = 0.0
    while thread.is_alive():
        longest = max(longest, ask_health(large_server.url, 1, PATIENCE_SECONDS))
    thread.join()
    sys.stdout.write(f"\n{name}: {answers[0].splitlines()[0]!r}, /health took {longest:.3f} s at most\n")
    assert answers[0].split()[1] in (b"400", b"413")
    if is_full:
        assert longest < MOST_HEALTH_SECONDS
