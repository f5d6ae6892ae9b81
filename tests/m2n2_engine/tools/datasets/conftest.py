"""What the tests of data sets share: drawn files in the published layouts, and a server of release files."""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result
from rich.progress import Progress
from typer.testing import CliRunner

from backend.cli.main import app

HEIGHT, WIDTH = 6, 8

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def progress() -> Progress:
    return Progress(disable=True)


@pytest.fixture
def labels() -> Pixels:
    """(6, 8): 255 in two rows, a row of 128 below them, 0 elsewhere."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[1:3, 2:6] = 255
    drawn[3, 2:6] = 128
    return drawn


@pytest.fixture
def write_picture() -> Callable[[Path, Pixels], Path]:
    """Write pixels as they are, by the file name's ending."""

    def write(path: Path, pixels: Pixels) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)
        return path

    return write


@pytest.fixture
def make_source(tmp_path: Path, labels: Pixels, write_picture: Callable[[Path, Pixels], Path]) -> Callable[..., Path]:
    """A folder with images and masks named alike."""

    def make(
        images: str = "data_GT", masks: str = "boundary_GT", names: tuple[str, ...] = ("b", "a"), root: str = "source"
    ) -> Path:
        rng = np.random.default_rng(0)
        for name in names:
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            write_picture(tmp_path / root / images / f"{name}.png", pixels)
            write_picture(tmp_path / root / masks / f"{name}.png", labels)
        return tmp_path / root

    return make


@pytest.fixture
def m2n2(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``m2n2 datasets prepare`` as the entry point would, without settings of this machine."""
    for name in os.environ:
        if name.startswith("M2N2_"):
            monkeypatch.delenv(name)
    return lambda *arguments: CliRunner().invoke(app, ["datasets", "prepare", *map(str, arguments)])


class ReleaseServer(http.server.ThreadingHTTPServer):
    """Serves ``content`` at every path on loopback, in parts where it is asked for one.

    cut_at: the connection ends before this byte. before_cut: called when all bytes before it have been sent.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/release.zip"
        self.content = b""
        self.status = 200
        self.knows_parts = True
        self.cut_at: int | None = None
        self.before_cut: Callable[[], None] = lambda: None
        self.asked: list[str | None] = []
        """The Range header of every request."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ReleaseServer

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.knows_parts else 0
        if start >= len(server.content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else server.status)
        self.send_header("Content-Length", str(len(server.content) - start))
        # As some servers say of every .tgz.
        self.send_header("Content-Encoding", "x-gzip")
        self.end_headers()
        self._send(server.content[start : server.cut_at])

    def _send(self, body: bytes) -> None:
        try:
            self.wfile.write(body)
            if self.server.cut_at is not None:
                self.server.before_cut()
        except ConnectionError:
            pass  # the client was killed

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def release_server() -> Iterator[ReleaseServer]:
    with ReleaseServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
