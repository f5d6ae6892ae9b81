"""A real gunicorn with the configuration of deploy/, on loopback, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import requests

ROOT = Path(__file__).parents[2]
TINY = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "128", "M2N2_DISK_CACHE_MIB": "0"}
"""Settings of a server that starts in seconds and leaves nothing behind."""

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


class Server:
    """Started and ready inside its ``with`` block, ended by SIGTERM at its end.

    environ: settings. log: file that both streams of the server go to.
    """

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._environ = environ
        self._port = _find_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        # Settings of whoever runs the tests must not reach this server.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO_")}
        own = {"M2N2_HOST": "127.0.0.1", "M2N2_PORT": str(self._port), "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py"],
                cwd=ROOT,
                env={**inherited, **own, **self._environ},
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()
        self.wait()

    def terminate(self) -> None:
        """Ask the server to finish what it is doing and end; does not wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The server's exit status, once it has ended; it is killed where it does not."""
        assert self._process is not None
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def has_stopped_listening(self) -> bool:
        """Waits until no new connection is answered any more; False where that does not come."""
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                requests.get(f"{self.url}/health", timeout=0.5)
            except requests.RequestException:
                return True
        return False

    def read_log(self) -> str:
        """All that the server has logged until now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def read_metric(self, name: str) -> float:
        """A metric without labels."""
        lines = requests.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.url}/ready", timeout=1).status_code == 200:
                    return
            except requests.RequestException:
                pass  # gunicorn does not listen yet
            try:
                status = self._process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"the server ended with status {status}:\n{self.read_log()}")
        raise RuntimeError(f"the server is not ready after {_START_SECONDS:g} s:\n{self.read_log()}")


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
