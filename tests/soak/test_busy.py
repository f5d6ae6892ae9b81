"""A real server whose every place is taken: what it still answers, and how it ends."""

from __future__ import annotations

import concurrent.futures
import datetime
import http.server
import io
import threading

import numpy as np
import pytest
import requests
from PIL import Image as PillowImage

from backend.tools.load import draw_body
from tests.helpers.soak.server import TINY, Server

DEADLINE_SECONDS = 60
MOST_HEALTH_TIME = datetime.timedelta(seconds=0.5)
PLACES = 3


class SlowLabelStudio(http.server.ThreadingHTTPServer):
    """Delivers its image when it is told to."""

    def __init__(self):
        file = io.BytesIO()
        PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)).save(file, "PNG")
        self.image = file.getvalue()
        self.asked = threading.Semaphore(0)
        self.deliver = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.release()
        self.server.deliver.wait(DEADLINE_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.image)))
        self.end_headers()
        self.wfile.write(self.server.image)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def label_studio():
    with SlowLabelStudio() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.deliver.set()
        server.shutdown()
        thread.join()


def test_a_full_server_still_tells_its_health_and_ends_only_after_its_clicks(label_studio, tmp_path):
    environ = {
        **TINY,
        "M2N2_DISK_CACHE_MIB": "0",
        "LABEL_STUDIO_URL": f"http://127.0.0.1:{label_studio.server_port}",
        "M2N2_FETCH_TIMEOUT_SECONDS": str(DEADLINE_SECONDS),
        "M2N2_READ_TIMEOUT_SECONDS": str(DEADLINE_SECONDS),
        "M2N2_SERVER_THREADS": str(PLACES + 1),
    }
    with Server(environ, tmp_path / "server.log") as server, concurrent.futures.ThreadPoolExecutor(PLACES) as pool:
        clicks = [pool.submit(click, server, annotator) for annotator in range(PLACES)]
        for _ in clicks:
            assert label_studio.asked.acquire(timeout=DEADLINE_SECONDS)
        refused = click(server, PLACES)
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "Busy")
        assert int(refused.headers["Retry-After"]) > 0
        for method, path in [("GET", "/health"), ("POST", "/setup"), ("GET", "/ready"), ("GET", "/metrics")]:
            answer = requests.request(method, f"{server.url}{path}", json={}, timeout=1)
            assert (answer.status_code, answer.elapsed < MOST_HEALTH_TIME) == (200, True), path

        server.terminate()
        assert server.has_stopped_listening()
        assert not any(one.done() for one in clicks)
        label_studio.deliver.set()
        for one in clicks:
            response = one.result(DEADLINE_SECONDS)
            assert response.status_code == 200
            assert response.json()["results"][0]["result"]
        assert server.wait() == 0
    assert server.read_log().count("POST '/predict' 200") == PLACES


def click(server, annotator):
    """The first click of an annotator, on an image of its own."""
    body = draw_body(annotator, clicks=1, size=(120, 160), image=f"/data/upload/1/{annotator}.png")
    return requests.post(f"{server.url}/predict", json=body, timeout=DEADLINE_SECONDS)
