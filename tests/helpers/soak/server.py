"""The server of these tests, and what they ask of it."""

from __future__ import annotations

import time

import requests

from backend.tools.local_server import LocalServer

TINY = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "128"}
"""Settings of a server that starts in seconds."""

_STOP_SECONDS = 30.0


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

    def read_metric(self, name: str) -> float:
        """A metric by its name, with its labels where it has some: ``name{level="disk"}``."""
        lines = requests.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))
