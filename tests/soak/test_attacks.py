"""Clients that mean harm cost nobody else the server: /health is answered throughout, and clicks get their masks."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import resource
import sys
import threading

import pytest

from tests.helpers.soak.attacks import Attack, ask_health, hold, render_head, send
from tests.helpers.soak.load import MOST_HEALTH_SECONDS, compare, render_report
from tests.helpers.soak.server import TINY, Server

# Some of these attacks kept /health waiting for minutes, once. A busy machine may take seconds.
PATIENCE_SECONDS = 20

FILES = 512
STALLED = ("Content-Type: application/json", "Content-Length: 100000")
ATTACKS = {
    "answers that are not closed": Attack(100, render_head("GET", "/health", "Connection: close"), is_answered=True),
    "half-sent heads": Attack(32, b"GET /health HTTP/1.1\r\nHost: he"),
    "silent connections": Attack(500, b""),
    "stalled bodies for /setup": Attack(32, render_head("POST", "/setup", *STALLED) + b"{"),
    "stalled bodies for /predict": Attack(100, render_head("POST", "/predict", *STALLED) + b"{"),
    "stalled bodies for an unknown path": Attack(400, render_head("POST", "/none", *STALLED) + b"{"),
    "stalled bodies in chunks": Attack(32, render_head("POST", "/setup", "Transfer-Encoding: chunked") + b"5\r\n{"),
    "bodies for a path without one": Attack(100, render_head("GET", "/health", *STALLED) + b"{"),
    "answers that nobody reads": Attack(40, 100 * render_head("GET", "/guide/points.jpg"), receive_bytes=4096),
}
HUGE = {
    "6 MB of lists": ("/predict", b'{"tasks": [{"data": {"image": [' + b"[[],[[]]]," * 600_000 + b"0]}}]}"),
    "60 MB of tasks": ("/predict", b'{"tasks": [' + b'{"data":{}},' * 5_000_000 + b'{"data":{}}]}'),
    "15 MB of tasks": ("/predict", b'{"tasks": [' + b'{"data":{}},' * 1_250_000 + b'{"data":{}}]}'),
    "15 MB of wrong tasks": ("/predict", b'{"tasks": [' + b"0," * 7_500_000 + b"0]}"),
    "4 MB of wrong regions": (
        "/predict",
        b'{"tasks": [], "params": {"context": {"result": [' + b"0," * 1_900_000 + b"0]}}}",
    ),
    "4 MB of wrong labels": (
        "/predict",
        b'{"tasks": [{"data": {}}], "params": {"context": {"result": [{"type": "keypointlabels", "to_name": "image", '
        b'"value": {"x": 1, "y": 1, "keypointlabels": [' + b"0," * 1_900_000 + b"0]}}]}}}",
    ),
    "4 MB of wrong points": ("/cvat/", b'{"image": "", "pos_points": [' + b"0," * 1_900_000 + b"0]}"),
    "15 MB of strings": ("/predict", b'{"tasks": [' + b'"",' * 5_000_000 + b"0]}"),
    "60 MB of objects for CVAT": ("/cvat/", b'{"image": [' + b"{}," * 20_000_000 + b"0]}"),
    "28 MB of nested XML": ("/setup", b'{"schema": "' + b"<a>" * 4_000_000 + b"</a>" * 4_000_000 + b'"}'),
    # The log says what is wrong with these.
    "1 MB of nested XML": ("/setup", b'{"schema": "' + b"<a>" * 140_000 + b"</a>" * 140_000 + b'"}'),
    "1 MB of names in XML": ("/setup", b'{"schema": "<BrushLabels toName=\'' + b"a," * 500_000 + b"'/>\"}"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One with the limits that it is delivered with, which may open few files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    with Server(TINY, tmp_path_factory.mktemp("attacked") / "server.log") as server:
        # The attackers are in this process.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * FILES, hard), hard))
        yield server
        log = server.read_log()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert log.count("Booting worker") == 1, "it had to be started again"
    assert "Traceback" not in log


@pytest.fixture
def tell(is_full):
    """Notes the longest answer to /health in an attack."""

    def tell(name, seconds):
        sys.stdout.write(f"\n{name}: /health took {seconds:.3f} s at most\n")
        if is_full:
            assert seconds < MOST_HEALTH_SECONDS

    return tell


@pytest.mark.parametrize("name", ATTACKS)
def test_health_is_answered_while_connections_are_held(server, is_full, tell, name):
    with hold(server.url, ATTACKS[name]):
        # Longer than the server waits for any client.
        tell(name, ask_health(server.url, 3, PATIENCE_SECONDS, for_seconds=40 if is_full else 0))


@pytest.mark.parametrize("name", HUGE)
def test_health_is_answered_while_huge_bodies_are_sent(server, is_full, tell, name):
    path, body = HUGE[name]
    request = render_head("POST", path, f"Content-Length: {len(body)}", "Connection: close") + body
    times = 10 if is_full else 1
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sending = pool.submit(lambda: [send(server.url, request) for _ in range(times)])
        longest = 0.0
        while not sending.done():
            longest = max(longest, ask_health(server.url, 1, PATIENCE_SECONDS))
        answers = sending.result()
    tell(name, longest)
    assert {answer.split()[1] for answer in answers} <= ({b"200"} if "1 MB" in name else {b"400", b"413"})


def test_as_many_connections_as_files_leave_the_server_as_it_is(server, is_full, tell):
    with hold(server.url, Attack(2 * FILES, b"")):
        longest = ask_health(server.url, 100 if is_full else 3, PATIENCE_SECONDS)
    tell(f"{2 * FILES} connections at {FILES} files", longest)


def test_clicks_get_their_masks_while_slow_clients_attack(tmp_path, is_full):
    if is_full:
        environ, annotators, clicks, size = {"M2N2_BACKBONE": "dinov2-small"}, 16, 20, (480, 640)
    else:
        environ, annotators, clicks, size = TINY, 4, 5, (120, 160)
    load, problems = compare(environ, tmp_path, annotators, clicks, size, beside=attack_all)
    sys.stdout.write(f"\nbeside all attacks: {render_report(load)}\n")
    if not is_full:
        problems = [problem for problem in problems if not problem.startswith("/health took")]
    assert problems == []


@contextlib.contextmanager
def attack_all(url):
    """One attack after the other, each for a second, over and over while the block works."""
    is_over = threading.Event()

    def attack():
        for one in itertools.cycle(ATTACKS.values()):
            with hold(url, one):
                if is_over.wait(1):
                    return

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        attacking = pool.submit(attack)
        try:
            yield
        finally:
            is_over.set()
            attacking.result()
