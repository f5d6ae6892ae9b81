"""The server's process: how it starts with settings that cannot work, is told to end, and is killed."""

from __future__ import annotations

import concurrent.futures
import sys

import pytest
import requests

from backend.errors import NotReady
from backend.tools.load import draw_body, draw_uris
from tests.helpers.soak.server import TINY, LoadingServer, Server

ANNOTATORS = 8
SIZE = (120, 160)
DEADLINE_SECONDS = 100


def test_a_setting_that_only_the_engine_can_check_stops_the_start_with_one_line(tmp_path):
    server = Server({"M2N2_BACKBONE": "sam"}, tmp_path / "log")
    with pytest.raises(NotReady, match="the server ended with status 4"), server:
        pass
    lines = [line for line in server.read_log().splitlines() if " INFO " not in line and "gunicorn.error" not in line]
    (line,) = lines
    assert "the model could not be loaded: unknown backbone 'sam': use one of auto, " in line


def test_a_server_that_is_told_to_end_while_its_model_loads_ends_in_order(tmp_path, monkeypatch):
    # Kernels are compiled, so that it loads for long.
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kernels"))
    with LoadingServer(TINY, tmp_path / "log") as server:
        server.terminate()
        assert server.wait() == 0
    log = server.read_log()
    assert "model ready" not in log, "it was not told to end early enough"
    assert "SIGABRT" not in log
    assert "terminate called" not in log


def test_a_killed_worker_is_started_again_and_no_mask_is_wrong(tmp_path, is_full):
    """One process loses the clicks that were under way; with two behind nginx, `make deploy-test` loses none."""
    images = draw_uris(ANNOTATORS, SIZE)
    rounds = 15 if is_full else 1
    lost = 0
    with Server(TINY, tmp_path / "log") as server, concurrent.futures.ThreadPoolExecutor(ANNOTATORS) as pool:

        def click(annotator):
            """None: the connection was cut off or refused."""
            body = draw_body(annotator, clicks=3, size=SIZE, image=images[annotator])
            try:
                answer = requests.post(f"{server.url}/predict", json=body, timeout=DEADLINE_SECONDS)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return None
            assert answer.status_code == 200, answer.text
            return answer.json()["results"][0]["result"][0]["value"]["rle"]

        expected = [click(annotator) for annotator in range(ANNOTATORS)]
        for _ in range(rounds):
            under_way = [pool.submit(click, annotator) for annotator in range(ANNOTATORS)]
            server.kill_worker()
            for right, future in zip(expected, under_way, strict=True):
                given = future.result(DEADLINE_SECONDS)
                lost += given is None
                assert given in (None, right)
            server.wait_until_ready()
            assert [click(annotator) for annotator in range(ANNOTATORS)] == expected
    assert server.read_log().count("Booting worker") == rounds + 1
    sys.stdout.write(f"\n{lost} of {rounds * ANNOTATORS} clicks under way lost in {rounds} rounds\n")
