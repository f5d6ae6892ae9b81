"""nginx takes the configuration of deploy/nginx, and does what its comments say."""

from __future__ import annotations

import pytest
import requests

from tests.helpers.deploy.nginx_server import Nginx
from tests.helpers.deploy.stub_backend import serve

MEBIBYTE = 1024 * 1024
SECONDS = 20


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
