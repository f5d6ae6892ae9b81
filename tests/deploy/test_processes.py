"""What `make studio` and `make e2e` start, they also end; what does not start says why."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path

import pytest
import requests

from backend.tools.studio.__main__ import render_greeting
from backend.tools.studio.processes import HOST, Account, Server, StartError, make_label_studio
from tests.helpers.paths import ROOT

SERVE = """
import http.server, os
address = ("127.0.0.1", int(os.environ["TOY_PORT"]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
ACCOUNT = Account("a@example.com", "secret-password")


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture
def make_toy(tmp_path, port):
    def make(code=SERVE):
        command = [sys.executable, "-c", code]
        environ = {"TOY_PORT": str(port)}
        log = tmp_path / "logs" / "toy.log"
        return Server("the toy", command, environ, port=port, ready_path="/", log=log, folder=tmp_path)

    return make


def test_a_server_serves_until_it_is_stopped_and_can_be_started_again(make_toy):
    toy = make_toy()
    for end in (toy.stop, toy.kill):
        with toy:
            toy.wait_ready(60)
            assert requests.get(toy.url, timeout=5).ok
            end()
            with pytest.raises(requests.ConnectionError):
                requests.get(toy.url, timeout=5)


def test_a_server_that_ends_shows_its_log(make_toy):
    with make_toy("raise SystemExit('no such model')") as toy, pytest.raises(StartError, match="no such model"):
        toy.wait_ready(60)


def test_a_server_that_never_serves_is_given_up(make_toy):
    never = pytest.raises(StartError, match="the toy does not serve after 0 s")
    with make_toy("import signal; signal.pause()") as toy, never:
        toy.wait_ready(0)


def test_a_port_that_is_taken_is_named_with_the_variable_of_another_one(port, tmp_path, make_toy):
    taken = rf"port {port} cannot be used .*: stop what uses it, or choose another one, for example "
    label_studio = make_label_studio(Path("environment"), tmp_path, ACCOUNT, port)
    with socket.create_server((HOST, port)):
        with pytest.raises(StartError, match=f"{taken}M2N2_PORT={port + 1}$"):
            make_toy().start()
        with pytest.raises(StartError, match=f"{taken}STUDIO_PORT={port + 1}$"):
            label_studio.check_port()
    label_studio.check_port()


def test_a_person_is_told_address_account_next_step_and_guide():
    shown = render_greeting("http://127.0.0.1:8080/projects/1/data", ACCOUNT, "http://127.0.0.1:9090")
    address, advice, guide = shown.strip().splitlines()
    assert address == (
        "Open http://127.0.0.1:8080/projects/1/data and log in as a@example.com with the password secret-password"
    )
    assert "Auto-Detect (M)" in advice
    assert guide.startswith("Guide:     http://127.0.0.1:9090/guide ")


def test_label_studio_gets_no_password_on_its_command_line_and_sends_no_telemetry(tmp_path, port):
    label_studio = make_label_studio(Path("environment"), tmp_path, ACCOUNT, port)
    assert not any(ACCOUNT.password in str(word) for word in label_studio.command)
    off = ("COLLECT_ANALYTICS", "SENTRY_DSN", "FRONTEND_SENTRY_DSN", "LATEST_VERSION_CHECK")
    assert [label_studio.environ[name] for name in off] == ["false", "", "", "false"]


def test_label_studio_signs_its_tokens_with_one_key_at_every_start(tmp_path, port):
    first, second = (make_label_studio(Path("environment"), tmp_path, ACCOUNT, port) for _ in range(2))
    assert first.environ["SECRET_KEY"] == second.environ["SECRET_KEY"]
    assert re.fullmatch(r"[0-9a-f]{50}", first.environ["SECRET_KEY"])
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    elsewhere = make_label_studio(Path("environment"), tmp_path / "other", ACCOUNT, port)
    assert elsewhere.environ["SECRET_KEY"] != first.environ["SECRET_KEY"]


def test_the_sample_images_name_their_licences():
    samples = json.loads((ROOT / "backend/tools/studio/sample_images.json").read_text())
    assert samples
    assert all(sample["file"] and sample["shows"] and sample["licence"] for sample in samples)
