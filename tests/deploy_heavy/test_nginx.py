"""nginx takes the configuration of deploy/nginx, and does what its comments say."""

from __future__ import annotations

import contextlib
import http.server
import threading

import pytest
import requests

from tests.helpers.deploy.nginx_server import Nginx

MEBIBYTE = 1024 * 1024
SECONDS = 20


class Backend(http.server.ThreadingHTTPServer):
    """Answers every request with one status and its own number, and remembers what it was asked."""

    def __init__(self, number, status):
        self.number = number
        self.status = status
        self.asked = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self):
        return f"127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, dict(self.headers), body))
        answer = str(self.server.number).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def serve(number, status=200):
    with Backend(number, status) as backend:
        thread = threading.Thread(target=backend.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield backend
        finally:
            backend.shutdown()
            thread.join()


@pytest.fixture
def click():
    """Send a body through an nginx as Label Studio would."""

    def send(nginx, body=b"{}", path="/predict", **headers):
        return requests.post(f"{nginx.url}{path}", data=body, headers=headers, verify=nginx.ca_file, timeout=SECONDS)

    return send


def test_the_configuration_is_valid(tmp_path):
    result = Nginx(tmp_path, ["127.0.0.1:9090", "127.0.0.1:9091"]).check()
    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr
    assert "[emerg]" not in result.stderr


def test_a_click_is_asked_again_of_the_other_process_where_one_is_busy(tmp_path, click):
    with serve(1, status=503) as busy, serve(2) as free, Nginx(tmp_path, [busy.address, free.address]) as nginx:
        answers = [click(nginx, b"a click") for _ in range(6)]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, "2")}
        assert busy.asked
        assert {body for *_, body in busy.asked + free.asked} == {b"a click"}


def test_an_answer_of_503_comes_through_where_both_are_busy(tmp_path, click):
    with (
        serve(1, status=503) as one,
        serve(2, status=503) as other,
        Nginx(tmp_path, [one.address, other.address]) as nginx,
    ):
        assert click(nginx).status_code == 503
        assert len(one.asked) == len(other.asked) == 1


def test_bodies_are_taken_up_to_the_limit(tmp_path, click):
    with serve(1) as backend, Nginx(tmp_path, [backend.address] * 2) as nginx:
        assert click(nginx, b" " * 64 * MEBIBYTE).status_code == 200
        assert click(nginx, b" " * (64 * MEBIBYTE + 1)).status_code == 413


def test_a_click_has_one_id_in_both_logs(tmp_path, click):
    with serve(1) as backend, Nginx(tmp_path, [backend.address] * 2) as nginx:
        click(nginx, **{"X-Request-ID": "given"})
        click(nginx)
        given, made = (headers["X-Request-ID"] for _, headers, _ in backend.asked)
        assert given == "given"
        assert len(made) == 32


def test_the_metrics_of_one_process_are_not_taken_for_those_of_all(tmp_path, click):
    with serve(1) as backend, Nginx(tmp_path, [backend.address] * 2) as nginx:
        assert click(nginx, path="/metrics").status_code == 404
        assert backend.asked == []
