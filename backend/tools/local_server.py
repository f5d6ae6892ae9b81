"""A real gunicorn with this product's configuration, on loopback, in a process of its own."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from backend.errors import NotReady

CONFIGURATION = "python:backend.http.gunicorn_conf"
"""Of gunicorn, as its option ``-c`` takes it."""

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


class LocalServer:
    """Started and ready inside its ``with`` block, ended by SIGTERM at its end.

    environ: settings. log: file that both streams of the server go to; its attention cache on disk lies beside it, so
    that it has seen no image before. start_seconds: from the start of its process until /ready answered that it is.
    """

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._environ = environ
        self._port = find_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start_seconds = math.nan
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        own = {
            "M2N2_HOST": "127.0.0.1",
            "M2N2_PORT": str(self._port),
            "M2N2_CVAT_PORT": "",
            "M2N2_DISK_CACHE_FOLDER": str(self.log.with_suffix(".attention")),
        }
        started = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", CONFIGURATION],
                # A folder of ours: gunicorn looks for packages in the one it is started in first.
                cwd=self.log.parent,
                env=local_environment({**own, **self._environ}),
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.start_seconds = time.monotonic() - started
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
        if self._process is None:
            raise RuntimeError("the server was never started")
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def read_log(self) -> str:
        """All that the server has logged until now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.url}/ready", timeout=1).status_code == 200:
                    return
            except requests.RequestException:
                pass  # gunicorn does not listen yet
            try:
                status = process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            raise NotReady(f"the server ended with status {status}:\n{self.read_log()}")
        raise NotReady(f"the server is not ready after {_START_SECONDS:g} s:\n{self.read_log()}")


def local_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server that this process starts for itself: this one's, but of nobody else's Label Studio
    and open to whoever is on this machine; then ``own``."""
    closed = ("LABEL_STUDIO_", "M2N2_BASIC_AUTH_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(closed)}, **own}


def find_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
