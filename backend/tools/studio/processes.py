"""Starts a real Label Studio and this backend beside it, waits until they answer, and ends them again."""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from backend.http.ports import PortTaken, check_port
from backend.tools.local_server import CONFIGURATION
from m2n2_engine.errors import M2N2Error

HOST = "127.0.0.1"

_POLL_SECONDS = 0.2
_PROBE_SECONDS = 5.0
# Logging in hashes a password a million times: a second, many on a busy machine.
_REQUEST_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_TAIL_LINES = 20
_CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class StartError(M2N2Error):
    """A server that did not start, or a port that is taken; the message has the end of its log."""


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Who may log in to Label Studio."""

    email: str
    password: str


class Server:
    """A server as a child process in a session of its own, so that Ctrl+C reaches only us and we end it in order.

    environ: added to ours. port: checked to be free before the start. ready_path: answers 200 once the server serves.
    log: file that its output is added to. folder: where it runs. port_variable: names another port.
    """

    def __init__(
        self,
        name: str,
        command: list[str | Path],
        environ: Mapping[str, str],
        *,
        port: int,
        ready_path: str,
        log: Path,
        folder: Path,
        port_variable: str = "M2N2_PORT",
    ) -> None:
        self._name = name
        self.url = f"http://{HOST}:{port}"
        self.command = command
        self.environ = {**os.environ, **environ}
        self._port = port
        self._port_variable = port_variable
        self._ready_path = ready_path
        self._log = log
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises StartError where the port is taken: Label Studio would silently take the next one. Does not wait."""
        self.check_port()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.environ,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check_port(self) -> None:
        """Raise StartError where the port is taken."""
        try:
            check_port(self._port, self._port_variable, HOST)
        except PortTaken as problem:
            raise StartError(str(problem)) from None

    def wait_ready(self, timeout_seconds: float) -> None:
        """Raises StartError where the process ends, or does not serve in time."""
        deadline = time.monotonic() + timeout_seconds
        while not self._is_ready():
            if self._process is None or self._process.poll() is not None:
                raise StartError(f"{self._name} ended instead of serving:\n{self._read_log_tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self._name} does not serve after {timeout_seconds:.0f} s:\n{self._read_log_tail()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it: politely, then its whole session by force. Nothing where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill(self) -> None:
        """End its whole session at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}{self._ready_path}", timeout=_PROBE_SECONDS).status_code == 200
        except requests.RequestException:
            return False

    def _read_log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([*lines[-_LOG_TAIL_LINES:], f"(from {self._log})"])


def make_label_studio(
    environment: Path,
    folder: Path,
    account: Account,
    port: int,
    files: Path | None = None,
    *,
    block_private: bool = False,
) -> Server:
    """Label Studio on loopback, without telemetry, its data and log below ``folder``.

    environment: the virtual environment that it is installed in. account: made at the first start. files: folder that
    tasks may take local files from, in its subfolders. block_private: leave its refusal of private addresses on, as it
    is by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environ = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "SECRET_KEY": _keep_secret_key(folder / "secret_key"),
        "LABEL_STUDIO_USERNAME": account.email,
        "LABEL_STUDIO_PASSWORD": account.password,
        "LABEL_STUDIO_HOST": f"http://{HOST}:{port}",
        # Telemetry, error reports and the look for updates.
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
        # Without these two it refuses a backend on loopback.
        "ML_BLOCK_LOCAL_IP": str(block_private).lower(),
        "SSRF_PROTECTION_ENABLED": str(block_private).lower(),
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Its environment is its own: nothing of ours is imported there.
        "PYTHONPATH": "",
    }
    if files is not None:
        environ |= {"LOCAL_FILES_SERVING_ENABLED": "true", "LOCAL_FILES_DOCUMENT_ROOT": str(files)}
    command: list[str | Path] = [
        environment.absolute() / "bin" / "label-studio",
        "start",
        "--no-browser",
        "--internal-host",
        HOST,
        "--port",
        str(port),
    ]
    return Server(
        "Label Studio",
        command,
        environ,
        port=port,
        port_variable="STUDIO_PORT",
        ready_path="/health",
        log=folder / "label-studio.log",
        folder=folder,
    )


def _keep_secret_key(path: Path) -> str:
    """What Label Studio signs its tokens with, the same at every start.

    Its own is random and may begin with a dollar sign, which the next start reads as the name of a variable: one in
    fifty makes another key at its second start, and no token from before is taken any more.
    """
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(25), encoding="ascii")
    return path.read_text(encoding="ascii")


def make_backend(environ: Mapping[str, str], port: int, log: Path) -> Server:
    """This backend on loopback, served as in production, with the packages of the Python that runs this."""
    given = {"M2N2_HOST": HOST, "M2N2_PORT": str(port), **environ}
    command: list[str | Path] = [sys.executable, "-m", "gunicorn", "-c", CONFIGURATION]
    # A folder of ours: gunicorn looks for packages in the one it is started in first.
    return Server("the backend", command, given, port=port, ready_path="/ready", log=log, folder=log.parent)


def log_in(url: str, account: Account) -> requests.Session:
    """A session of Label Studio's pages, as a browser has it. Raises StartError where it is not let in."""
    session = requests.Session()
    response = _post_form(session, f"{url}/user/login/", email=account.email, password=account.password)
    if not response.is_redirect:
        raise StartError(f"Label Studio does not let {account.email} in: its data folder belongs to another account")
    return session


def sign_up(url: str, invitation: str, account: Account) -> None:
    """A further account. invitation: token of the organisation's invite link. Raises StartError."""
    response = _post_form(
        requests.Session(),
        f"{url}/user/signup/?token={invitation}",
        email=account.email,
        password=account.password,
        allow_newsletters="false",
    )
    if not response.is_redirect:
        raise StartError(f"Label Studio does not sign {account.email} up (status {response.status_code})")


def create_token(url: str, account: Account) -> str:
    """A personal access token of the account; Label Studio gives it out once. Raises StartError."""
    session = log_in(url, account)
    response = session.post(
        f"{url}/api/token/",
        headers={"X-CSRFToken": session.cookies["csrftoken"] or "", "Referer": url},
        timeout=_REQUEST_SECONDS,
    )
    if not response.ok:
        raise StartError(f"Label Studio makes no token for {account.email} (status {response.status_code})")
    return str(response.json()["token"])


def _post_form(session: requests.Session, address: str, **fields: str) -> requests.Response:
    page = session.get(address, timeout=_REQUEST_SECONDS)
    secret = _CSRF_FIELD.search(page.text)
    if secret is None:
        raise StartError(f"{address} is no form of Label Studio: does something else use its port?")
    form = {"csrfmiddlewaretoken": secret[1], **fields}
    return session.post(
        address, data=form, headers={"Referer": address}, allow_redirects=False, timeout=_REQUEST_SECONDS
    )
