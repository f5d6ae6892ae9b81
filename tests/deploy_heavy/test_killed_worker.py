"""Workers of two processes behind nginx are killed, and annotators see nothing of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import sys
import threading
import time

import pytest
import requests

from backend.tools.load import draw_body, draw_uris
from tests.helpers.deploy.nginx_server import Nginx
from tests.helpers.soak.server import Server

ANNOTATORS = 8
ROUNDS = 15
SIZE = (120, 160)
DEADLINE_SECONDS = 100


@pytest.fixture
def servers(tmp_path):
    """Two processes that share the attention cache on disk."""
    environ = {"M2N2_BACKBONE": "tiny", "M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention")}
    return [Server(environ, tmp_path / f"server-{number}.log") for number in range(2)]


@pytest.fixture
def nginx(servers, tmp_path):
    folder = tmp_path / "nginx"
    folder.mkdir()
    return Nginx(folder, [server.url.removeprefix("http://") for server in servers])


def is_ready(server):
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{server.url}/ready", timeout=1).status_code == 200
    return False


def test_no_click_is_lost_with_a_killed_worker(servers, nginx):
    images = draw_uris(ANNOTATORS, SIZE)
    is_over = threading.Event()
    answered = threading.Semaphore(0)

    def click(annotator, number):
        body = draw_body(annotator, clicks=number, size=SIZE, image=images[annotator])
        started = time.perf_counter()
        response = requests.post(f"{nginx.url}/predict", json=body, verify=nginx.ca_file, timeout=DEADLINE_SECONDS)
        assert response.status_code == 200, response.text
        answered.release()
        return number, response.json()["results"][0]["result"][0]["value"]["rle"], time.perf_counter() - started

    def annotate(annotator):
        answers = []
        while not is_over.is_set():
            answers += [click(annotator, number) for number in (1, 2, 3)]
        return answers

    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(ANNOTATORS) as pool:
        for one in (*servers, nginx):
            stack.enter_context(one)
        expected = [[click(annotator, number)[1] for number in (1, 2, 3)] for annotator in range(ANNOTATORS)]
        annotators = [pool.submit(annotate, annotator) for annotator in range(ANNOTATORS)]
        try:
            for server, other in itertools.islice(itertools.cycle(itertools.permutations(servers)), ROUNDS):
                # Clicks are under way, and the other one can take them.
                for _ in range(2 * ANNOTATORS):
                    assert answered.acquire(timeout=DEADLINE_SECONDS)
                deadline = time.monotonic() + DEADLINE_SECONDS
                while not (is_ready(server) and is_ready(other)):
                    assert time.monotonic() < deadline
                server.kill_worker()
        finally:
            is_over.set()
        answers = [annotator.result(DEADLINE_SECONDS) for annotator in annotators]

    seconds = [duration for given in answers for _, _, duration in given]
    sys.stdout.write(f"\n{len(seconds)} clicks over {ROUNDS} killed workers, longest {max(seconds):.2f} s\n")
    log = "".join(server.read_log() for server in servers)
    assert log.count("was sent SIGKILL") == ROUNDS
    assert "upstream prematurely closed connection" in nginx.read_error_log()  # or no click was under way
    for right, given in zip(expected, answers, strict=True):
        assert all(rle == right[number - 1] for number, rle, _ in given)
