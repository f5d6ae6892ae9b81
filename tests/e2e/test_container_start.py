"""Label Studio as docker-compose.yml starts it: its secrets out of files that make_secrets.sh made, and behind TLS."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from backend.tools.studio.processes import Server
from tests.e2e.conftest import find_free_port
from tests.helpers.paths import ROOT

_DEPLOY = ROOT / "deploy"
_EMAIL = "admin@example.com"
_ORIGIN = "https://labels.example.com:8443"
_START_SECONDS = 600.0
_REQUEST_SECONDS = 60.0


def _read_defaults(secrets: Path) -> dict[str, str]:
    """What deploy/defaults tells Label Studio where an operator sets nothing, its secrets in a folder of ours."""
    text = (_DEPLOY / "defaults" / "label-studio.env").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(\w+)=\$\{\w+:-(.*)\}$", text, re.MULTILINE))
    return {name: value.replace("/run/secrets", str(secrets)) for name, value in values.items()}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run(["/bin/sh", _DEPLOY / "make_secrets.sh", "--folder", folder], check=True)
    return folder


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, secrets: Path) -> Iterator[Server]:
    port = find_free_port()
    program = Path(request.config.getoption("label_studio")).absolute() / "bin" / "label-studio"
    command = ["/bin/sh", _DEPLOY / "label-studio" / "start.sh", program, "start", "--no-browser"]
    command += ["--internal-host", "127.0.0.1", "--port", str(port)]
    environ = _read_defaults(secrets) | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "data"),
        "LABEL_STUDIO_HOST": _ORIGIN,
        "PYTHONPATH": "",
    }
    (tmp_path / "data").mkdir()
    log, folder = tmp_path / "label-studio.log", tmp_path / "data"
    server = Server("Label Studio", command, environ, port=port, ready_path="/health", log=log, folder=folder)
    yield server
    server.stop()


def _log_in(server: Server, password: str) -> requests.Session:
    """As a browser does that opened ORIGIN: by nginx, which passes its requests on as plain HTTP."""
    session = requests.Session()
    session.headers.update({"Origin": _ORIGIN, "Referer": f"{_ORIGIN}/user/login/"})
    page = session.get(f"{server.url}/user/login/", timeout=_REQUEST_SECONDS)
    (field,) = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text))
    form = {"csrfmiddlewaretoken": field, "email": _EMAIL, "password": password}
    cookie = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in session.cookies)}
    answer = session.post(
        f"{server.url}/user/login/", data=form, headers=cookie, allow_redirects=False, timeout=_REQUEST_SECONDS
    )
    assert answer.is_redirect, answer.status_code
    session.headers["Cookie"] = "; ".join(f"{one.name}={one.value}" for one in session.cookies)
    return session


def _refresh(server: Server, token: str) -> int:
    answer = requests.post(f"{server.url}/api/token/refresh/", json={"refresh": token}, timeout=_REQUEST_SECONDS)
    return answer.status_code


def test_tokens_outlast_a_restart_and_cookies_are_for_tls_alone(server: Server, secrets: Path) -> None:
    server.start()
    server.wait_ready(_START_SECONDS)
    session = _log_in(server, (secrets / "label_studio_password").read_text(encoding="ascii"))
    assert {cookie.name for cookie in session.cookies if cookie.secure} >= {"csrftoken", "sessionid"}
    answer = session.post(
        f"{server.url}/api/token/", headers={"X-CSRFToken": session.cookies["csrftoken"]}, timeout=_REQUEST_SECONDS
    )
    token = answer.json()["token"]
    assert _refresh(server, token) == 200
    server.stop()
    server.start()
    server.wait_ready(_START_SECONDS)
    assert _refresh(server, token) == 200
