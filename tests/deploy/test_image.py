"""The Dockerfile keeps to hadolint's rules; `make deploy-test` builds and runs it."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backend.settings import load_settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
HEALTH = ROOT / "deploy" / "image" / "health.py"


def lint(file):
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, "--no-color", file], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout


def test_hadolint_passes():
    assert lint(DOCKERFILE) == (0, "")


def test_hadolint_would_notice(tmp_path):
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(
        DOCKERFILE.read_text().replace("debian:12.12-slim@", "debian:latest@").replace("${DEBIAN}", "debian")
    )
    status, output = lint(wrong)
    assert status != 0
    assert "DL3006" in output


def test_what_it_copies_and_runs_is_there():
    named = re.findall(r"deploy/image/\w+\.\w+", DOCKERFILE.read_text())
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
    scripts = list((ROOT / "deploy" / "image").glob("*.sh"))
    assert [script.name for script in scripts if not script.stat().st_mode & 0o111] == []


def test_every_step_is_a_script_that_runs_without_docker_too():
    steps = re.findall(r"^RUN (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    programs = {command.split()[0] for step in steps for command in step.split("&&")}
    assert programs
    assert {Path(program).name for program in programs} <= {path.name for path in (ROOT / "deploy/image").iterdir()}


def test_baked_in_weights_are_in_no_volume_and_fetched_ones_are():
    """A volume keeps what it has when the image is exchanged."""
    text = DOCKERFILE.read_text()
    settings = load_settings(dict(re.findall(r"(M2N2_\w+)=(\S+)", text)))
    volumes = [Path(name) for line in re.findall(r"^VOLUME (.*)$", text, re.MULTILINE) for name in json.loads(line)]
    assert volumes
    assert not any(settings.bundled_folder.is_relative_to(volume) for volume in volumes)
    assert any(settings.cache_folder.is_relative_to(volume) for volume in volumes)
    copied = re.findall(r"^COPY --from=build-(cpu|cuda) (\S+) (\S+)$", text, re.MULTILINE)
    assert [target for target, *places in copied if places == ["/opt/m2n2"] * 2] == ["cuda", "cpu"]
    assert settings.bundled_folder.is_relative_to("/opt/m2n2")


@pytest.fixture
def make_server():
    servers = []

    def make(authorization=None, **statuses):
        statuses = {f"/{name}": status for name, status in statuses.items()}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                given = self.headers.get("Authorization")
                is_refused = authorization is not None and given != authorization
                self.send_response(401 if is_refused else statuses.get(self.path, 404))
                self.end_headers()

            def log_message(self, *arguments):
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1].server_port

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def ask_health(port, *path, **environ):
    command = [sys.executable, HEALTH, str(port), *path]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environ}).returncode


@pytest.mark.parametrize(("status", "returncode"), [(200, 0), (401, 0), (500, 1)])
def test_a_container_is_healthy_while_it_answers(make_server, status, returncode):
    assert ask_health(make_server(health=status)) == returncode


@pytest.mark.parametrize(("status", "returncode"), [(200, 0), (401, 1), (503, 1)])
def test_a_probe_asks_at_the_path_that_it_is_given(make_server, status, returncode):
    assert ask_health(make_server(health=200, ready=status), "/ready") == returncode


def test_a_probe_has_the_password_of_the_server_s_environment(make_server, tmp_path):
    file = tmp_path / "password"
    file.write_text("sesame\n")
    port = make_server(f"Basic {base64.b64encode(b'm2n2:sesame').decode()}", health=200, ready=200)
    user = {"M2N2_BASIC_AUTH_USER": "m2n2"}
    assert ask_health(port, "/ready", **user, M2N2_BASIC_AUTH_PASSWORD="sesame") == 0
    assert ask_health(port, "/ready", **user, M2N2_BASIC_AUTH_PASSWORD_FILE=str(file)) == 0
    assert ask_health(port, "/ready", **user, M2N2_BASIC_AUTH_PASSWORD="another") == 1
    assert ask_health(port) == 0


def test_a_container_that_refuses_connections_is_not():
    assert ask_health(9) != 0
