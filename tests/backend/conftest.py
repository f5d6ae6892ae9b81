"""What the tests of the backend share: a segmenter without a model, recorded requests, a Label Studio on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image as PillowImage

from backend.app import create_app
from backend.engines.background import EngineSource
from backend.settings import load_settings
from m2n2_engine.errors import InvalidMask
from m2n2_engine.prompt import list_points
from m2n2_engine.types import (
    FREE,
    NEVER,
    Box,
    Click,
    Deadline,
    EngineStatus,
    Example,
    Mask,
    Picture,
    Proposal,
    Segmentation,
    Slots,
    Stroke,
    Tier,
    Timings,
)

DATA = Path(__file__).parents[1] / "data"


class DiscSegmenter:
    """Answers with a disc around the last positive click, or with the box, and remembers what it was asked.

    It is its own source. before_prepare, before_segment: called where the network would run and where a mask would be
    computed. told: its status.
    """

    model_version = "disc-1"

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], tuple[Click | Stroke, ...]]] = []
        self.boxes: list[Box | None] = []
        self.starts: list[Mask | None] = []
        self.prepared: list[tuple[int, ...]] = []
        self.resident: set[str] = set()
        self.found: list[Tier] = []
        self.error: Exception | None = None
        self.radius_pixels = 40.0
        self.takes_masks = True
        self.networks = 1
        self.told = EngineStatus(self.model_version, backbone="disc", device="cpu")
        self.before_prepare: Callable[[Picture], object] = lambda picture: None
        self.before_segment: Callable[[Picture], object] = lambda picture: None

    @contextlib.contextmanager
    def open(self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Iterator[OpenDisc]:
        tier = Tier.DEVICE if picture.digest in self.resident else Tier.NETWORK
        if tier is Tier.NETWORK:
            with slots.network():
                deadline.check("prepare the image")
                self.before_prepare(picture)
                self.prepared.append(picture.pixels.shape)
                self.resident.add(picture.digest)
        self.found.append(tier)
        yield OpenDisc(self, picture, tier)

    def segment(
        self,
        picture: Picture,
        clicks: Sequence[Click],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
    ) -> Segmentation:
        with self.open(picture, deadline) as opened:
            return opened.segment(clicks, box, mask, deadline)

    def candidates(
        self,
        picture: Picture,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
    ) -> tuple[Segmentation, ...]:
        with self.open(picture, deadline) as opened:
            return opened.candidates(clicks, box, mask, deadline)

    def prepare(self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Tier:
        with self.open(picture, deadline, slots) as opened:
            return opened.tier

    def propose(
        self, picture: Picture, examples: Sequence[Example], deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> tuple[Proposal, ...]:
        """The mask of the first example of each label, where the picture has its size."""
        with self.open(picture, deadline, slots):
            first = {example.label: example for example in reversed(examples) if example.picture.size == picture.size}
            return tuple(Proposal(each.mask, label, 0.9, (Click(1, 1),)) for label, each in first.items())

    def count_networks(self) -> int:
        return self.networks

    def status(self) -> EngineStatus:
        return self.told

    def wait(self, deadline: Deadline) -> DiscSegmenter:
        return self


@dataclasses.dataclass
class OpenDisc:
    segmenter: DiscSegmenter
    picture: Picture
    tier: Tier

    def segment(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> Segmentation:
        with slots.computing():
            return self._find(clicks, box, mask, deadline)

    def candidates(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> tuple[Segmentation, ...]:
        """A disc of half the radius, the disc, and one of twice the radius."""
        disc, radius = self.segmenter, self.segmenter.radius_pixels
        found = []
        for factor in (0.5, 1.0, 2.0):
            disc.radius_pixels = factor * radius
            found.append(self.segment(clicks, box, mask, deadline, slots))
        disc.radius_pixels = radius
        return tuple(found)

    def _find(
        self, clicks: Sequence[Click | Stroke], box: Box | None, mask: Mask | None, deadline: Deadline
    ) -> Segmentation:
        disc, shape = self.segmenter, self.picture.pixels.shape
        deadline.check("compute the mask")
        disc.before_segment(self.picture)
        disc.asked.append((shape, tuple(clicks)))
        disc.boxes.append(box)
        disc.starts.append(mask)
        if disc.error is not None:
            raise disc.error
        if mask is not None and not disc.takes_masks:
            raise InvalidMask("no mask can be corrected here")
        y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
        found = np.zeros(shape[:2], bool) if mask is None else mask.copy()
        if box is None:
            last = ([click for click in clicks if click.positive] or list(clicks))[-1]
            (last_x, last_y) = list_points(last)[-1]
            found[(x - last_x) ** 2 + (y - last_y) ** 2 < disc.radius_pixels**2] = last.positive
        else:
            found |= (x > box.left) & (x < box.right) & (y > box.top) & (y < box.bottom)
        return Segmentation(found, score=0.75, timings=Timings(prepare_seconds=0.25, clicks_seconds=0.125))


@pytest.fixture
def segmenter() -> DiscSegmenter:
    return DiscSegmenter()


@pytest.fixture
def make_client(segmenter: DiscSegmenter, tmp_path: Path) -> Callable[..., FlaskClient]:
    """Client of an application with these settings and a cache folder of its own; any source of an engine instead of
    the disc."""
    own = {"M2N2_DISK_CACHE_FOLDER": str(tmp_path / "attention")}

    def make(environ: Mapping[str, str] | None = None, instead: EngineSource | None = None) -> FlaskClient:
        return create_app(load_settings({**own, **(environ or {})}), instead or segmenter).test_client()

    return make


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client()


@pytest.fixture
def recorded() -> Callable[[str], Any]:
    """Body of a request that a real Label Studio sent."""
    return lambda name: json.loads((DATA / "label_studio" / f"{name}.json").read_text())["body"]


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    def make(width: int = 640, height: int = 480) -> bytes:
        file = io.BytesIO()
        PillowImage.new("RGB", (width, height), (10, 200, 30)).save(file, "PNG")
        return file.getvalue()

    return make


@dataclasses.dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class LoopbackServer:
    """Answers each path as told and remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, str, str | None, bytes]] = []
        """Method, path, Authorization header, body."""
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
                answer = server.answers.get(self.path, Answer(status=404))
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_PATCH = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = Answer(body, status, named)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def make_server() -> Iterator[Callable[[], LoopbackServer]]:
    servers: list[LoopbackServer] = []

    def make() -> LoopbackServer:
        servers.append(LoopbackServer())
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(make_server: Callable[[], LoopbackServer]) -> LoopbackServer:
    return make_server()


class RawServer:
    """Hands each connection to a function, which may write what no proper server would; one at a time."""

    def __init__(self, talk: Callable[[socket.socket, threading.Event], None]) -> None:
        self.closing = threading.Event()
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self.closing.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(10)
                    self._talk(connection, self.closing)

    def close(self) -> None:
        """Wait for the connection in hand to end; may be called again."""
        if self.closing.is_set():
            return
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def make_raw_server() -> Iterator[Callable[..., RawServer]]:
    servers: list[RawServer] = []

    def make(talk: Callable[[socket.socket, threading.Event], None]) -> RawServer:
        servers.append(RawServer(talk))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A resolver that knows more: host -> for each time it is asked the addresses; the last answer stays."""
    known: dict[str, list[list[str]]] = {}
    resolve = socket.getaddrinfo

    def answer(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        if host not in known:
            return resolve(host, port, *arguments, **options)
        addresses = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [found for address in addresses for found in resolve(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known
