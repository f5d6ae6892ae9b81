"""Two processes behind nginx are restarted one after the other, and annotators see nothing of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import sys
import threading
import time

import pytest
import requests

from backend.tools.load import draw_body, draw_uris
from backend.tools.local_server import LocalServer
from tests.helpers.deploy.nginx_server import Nginx

ANNOTATORS = 6
SIZE = (120, 160)
DEADLINE_SECONDS = 100


@pytest.fixture
def servers(tmp_path):
    """Two processes that share the attention cache on disk."""
    environ = {"M2N2_BACKBONE": "tiny", "M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention")}
    return [LocalServer(environ, tmp_path / f"server-{number}.log") for number in range(2)]


@pytest.fixture
def nginx(servers, tmp_path):
    folder = tmp_path / "nginx"
    folder.mkdir()
    return Nginx(folder, [server.url.removeprefix("http://") for server in servers])


def test_a_rolling_restart_answers_every_click(servers, nginx):
    images = draw_uris(ANNOTATORS, SIZE)
    is_over = threading.Event()

    def click(annotator, number):
        body = draw_body(annotator, clicks=number, size=SIZE, image=images[annotator])
        started = time.perf_counter()
        response = requests.post(f"{nginx.url}/predict", json=body, verify=nginx.ca_file, timeout=DEADLINE_SECONDS)
        assert response.status_code == 200, response.text
        rle = response.json()["results"][0]["result"][0]["value"]["rle"]
        return number, rle, time.perf_counter() - started

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
            for server in servers:
                server.terminate()
                assert server.wait() == 0
                stack.enter_context(server)
        finally:
            is_over.set()
        answers = [annotator.result(DEADLINE_SECONDS) for annotator in annotators]

    seconds = [duration for given in answers for _, _, duration in given]
    sys.stdout.write(f"\n{len(seconds)} clicks over {len(servers)} restarts, longest {max(seconds):.2f} s\n")
    assert "Connection refused" in nginx.read_error_log()  # or nothing was restarted under load
    for right, given in zip(expected, answers, strict=True):
        assert all(rle == right[number - 1] for number, rle, _ in given)
