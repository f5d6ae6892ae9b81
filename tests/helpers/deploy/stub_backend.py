"""What stands behind a proxy in the tests."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator


class Backend(http.server.ThreadingHTTPServer):
    """Answers every request with one status and its own number, and remembers what it was asked."""

    def __init__(self, number: int, status: int) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.number = number
        self.status = status
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Backend

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, dict(self.headers), body))
        answer = str(self.server.number).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serve(number: int, status: int = 200) -> Iterator[Backend]:
    """One that listens on a free port of loopback inside the ``with`` block."""
    with Backend(number, status) as backend:
        thread = threading.Thread(target=backend.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield backend
        finally:
            backend.shutdown()
            thread.join()
