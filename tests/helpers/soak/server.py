"""The server of these tests, and what they ask of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import requests

from backend.tools.local_server import LocalServer

TINY = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "128"}
"""Settings of a server that starts in seconds."""

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02


class Server(LocalServer):
    """Started and ready inside its ``with`` block, ended by SIGTERM at its end."""

    def has_stopped_listening(self) -> bool:
        """Waits until no new connection is answered any more; False where that does not come."""
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                requests.get(f"{self.url}/health", timeout=0.5)
            except requests.RequestException:
                return True
        return False

    def kill_worker(self) -> None:
        """As a lack of memory does: SIGKILL to gunicorn's worker, in which the model is and every click under way."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        for worker in children.split():
            os.kill(int(worker), signal.SIGKILL)

    def wait_for_line(self, text: str) -> None:
        """Returns once the log has it."""
        deadline = time.monotonic() + _START_SECONDS
        while text not in self.read_log():
            assert time.monotonic() < deadline, self.read_log()
            time.sleep(_POLL_SECONDS)

    def wait_until_ready(self) -> None:
        """Returns once the model is there, again after a worker was killed."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            assert time.monotonic() < deadline, self.read_log()
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=1).status_code == 200
        except requests.RequestException:
            return False

    def read_metric(self, name: str) -> float:
        """A metric by its name, with its labels where it has some: ``name{level="disk"}``."""
        lines = requests.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


class LoadingServer(Server):
    """Inside its ``with`` block it has begun to load its model."""

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        self.wait_for_line("loading backbone")
