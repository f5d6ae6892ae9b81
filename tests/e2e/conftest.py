"""One real Label Studio, one real backend and one browser for all tests of this folder; `make e2e` sets them up, and
`make ray-e2e` with the engine as replicas on Ray."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from pydantic import SecretStr

from backend.label_studio.client import LabelStudioClient
from backend.label_studio.project_setup import Attachment, attach_backend, create_project
from backend.settings import load_settings
from backend.tools.studio.processes import (
    Account,
    Server,
    create_token,
    log_in,
    make_backend,
    make_label_studio,
    sign_up,
)
from m2n2_engine.engine import Engine, load_engine
from m2n2_engine.image_file import decode_image
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.processors import count_processors
from m2n2_engine.types import Box, Click, Mask
from tests.helpers.label_studio.annotator import Annotator
from tests.helpers.label_studio.photographs import find_newest_task
from tests.helpers.paths import ROOT

LABELS = ("Cat", "Cup", "Person")
_START_SECONDS = 300.0
_OUT = ROOT / "out" / "e2e"
_REPLICAS = 2
# Images are prepared here, whatever was clicked on before.
_NO_DISK_CACHE = {"M2N2_DISK_CACHE_MIB": "0"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--label-studio", type=Path, default=ROOT / ".venv-label-studio", help="its environment")
    parser.addoption("--engine", choices=("local", "ray"), default="local", help="where the backend's engine works")
    parser.addoption("--chromium", default=shutil.which("chromium"), help="the browser's program")


@dataclasses.dataclass(frozen=True)
class Studio:
    """A running Label Studio. accounts: who can log in, the owner first. token: the owner's personal access token.
    folder: its data. files: its local files."""

    server: Server
    accounts: tuple[Account, Account]
    token: str
    client: LabelStudioClient
    folder: Path
    files: Path

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture(scope="session")
def studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("label-studio")
    files = folder / "files"
    (files / "photographs").mkdir(parents=True)
    owner, colleague = (Account(f"{name}@example.com", secrets.token_urlsafe(9)) for name in ("owner", "colleague"))
    environment = request.config.getoption("label_studio")
    with make_label_studio(environment, folder / "data", owner, find_free_port(), files) as server:
        server.wait_ready(_START_SECONDS)
        token = create_token(server.url, owner)
        client = LabelStudioClient(server.url, SecretStr(token))
        sign_up(server.url, client.get("/api/invite")["token"], colleague)
        yield Studio(server, (owner, colleague), token, client, folder / "data", files)


@pytest.fixture(scope="session")
def engine_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """By which the backend has an engine: its own, or replicas on a cluster of this machine."""
    if request.config.getoption("engine") == "local":
        yield _NO_DISK_CACHE
        return
    # Imported here: nothing of Ray is needed where the engine is local.
    from backend.tools.ray.replicas import deploy, start_cluster

    processors = count_processors()
    with pytest.MonkeyPatch.context() as environ:
        for name, value in {**_NO_DISK_CACHE, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            environ.setenv(name, value)
        with start_cluster(processors) as address:
            deploy(_REPLICAS, processors / _REPLICAS)
            yield {"M2N2_ENGINE": "ray", "M2N2_RAY_ADDRESS": address}


@pytest.fixture(scope="session")
def backend(studio: Studio, engine_settings: dict[str, str]) -> Iterator[Server]:
    # Polygons are given where a project's configuration has a place for them, brush masks in all.
    environ = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "M2N2_OUTPUT": "both",
        **engine_settings,
    }
    _OUT.mkdir(parents=True, exist_ok=True)
    with make_backend(environ, find_free_port(), _OUT / "backend.log") as server:
        server.wait_ready(_START_SECONDS)
        yield server


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=request.config.getoption("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def project(studio: Studio, backend: Server) -> int:
    """An empty project with the labels of LABELS, connected to the backend."""
    number = create_project(studio.client, "End to end", LABELS, backend.url)
    attach_backend(studio.client, number, Attachment(backend.url))
    return number


@pytest.fixture
def upload(studio: Studio, project: int) -> Callable[[str, bytes], int]:
    """Uploads an image to the project and gives the number of its task."""

    def upload_image(name: str, data: bytes) -> int:
        studio.client.upload(project, name, data)
        return find_newest_task(studio.client, project)

    return upload_image


@pytest.fixture
def make_annotator(
    request: pytest.FixtureRequest, studio: Studio, browser: Browser
) -> Iterator[Callable[..., Annotator]]:
    """Logs an account in, by default the owner, in a browser profile of its own."""
    contexts = []

    def make(account: Account | None = None) -> Annotator:
        session = log_in(studio.url, account or studio.accounts[0])
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        contexts.append(context)
        context.add_cookies(
            [{"name": cookie.name, "value": cookie.value or "", "url": studio.url} for cookie in session.cookies]
        )
        return Annotator(context, studio.url, _OUT / request.node.name)

    yield make
    for context in contexts:
        for page in context.pages:
            page.screenshot(path=_OUT / request.node.name / "last.png")
        context.close()


@pytest.fixture
def free_port() -> int:
    return find_free_port()


@pytest.fixture(scope="session")
def engine() -> Engine:
    return load_engine(load_settings().engine_config())


@pytest.fixture
def segment(engine: Engine) -> Callable[[bytes, Sequence[dict[str, Any]]], Mask]:
    """The engine's own mask of an image file, for key points of requests and their signs, for one box, or for both."""

    def segment_file(data: bytes, asked: Sequence[dict[str, Any]]) -> Mask:
        image = decode_image(data, orientation=Orientation.PAGE)
        height, width = image.shape[:2]
        clicks = [
            Click(region["value"]["x"] / 100 * width, region["value"]["y"] / 100 * height, region["is_positive"])
            for region in asked
            if region["type"] == "keypointlabels"
        ]
        boxes = [
            Box(*(round(side) for side in (x * width, y * height, (x + across) * width, (y + down) * height)))
            for x, y, across, down in (
                (region["value"][name] / 100 for name in ("x", "y", "width", "height"))
                for region in asked
                if region["type"] == "rectanglelabels"
            )
        ]
        assert len(boxes) <= 1
        return engine.segment(image, clicks, *boxes).mask

    return segment_file


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
