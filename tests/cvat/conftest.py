"""A real server with the tiny network and a port for CVAT, a frame, and the masks that the engine alone finds in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image as PillowImage

from backend.settings import load_settings
from backend.tools.load import draw_image
from backend.tools.local_server import LocalServer, find_port
from m2n2_engine.engine import Engine, load_engine
from m2n2_engine.types import Box, Click, Image, Mask

TINY = {"M2N2_BACKBONE": "tiny", "M2N2_GRID": "12", "M2N2_THREADS": "1", "M2N2_MAX_BODY_MIB": "1"}
SHAPE = (120, 160)

FindMask = Callable[..., Mask]


class CvatServer(LocalServer):
    """port: CVAT's."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self.port = find_port()
        super().__init__({**environ, "M2N2_CVAT_PORT": str(self.port)}, log)

    @property
    def passes(self) -> int:
        """Images that the network has looked at: those that no level of the cache held."""
        lines = requests.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        name = 'm2n2_cache_misses_total{level="disk"} '
        return int(float(next(line.removeprefix(name) for line in lines if line.startswith(name))))


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CvatServer]:
    with CvatServer(TINY, tmp_path_factory.mktemp("cvat") / "server.log") as server:
        yield server


@pytest.fixture
def frame(request: pytest.FixtureRequest) -> Image:
    """Another one for each test, so that the server has seen none of it."""
    return draw_image(sum(request.node.nodeid.encode()), SHAPE)


@pytest.fixture
def image(frame: Image) -> str:
    """The frame as CVAT sends it."""
    file = io.BytesIO()
    PillowImage.fromarray(frame).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="package")
def engine() -> Engine:
    return load_engine(load_settings({**TINY, "M2N2_DISK_CACHE_MIB": "0"}).engine_config())


@pytest.fixture
def find_mask(engine: Engine, frame: Image) -> FindMask:
    """What the engine finds in the frame, asked without any server."""

    def find(
        positive: Sequence[Sequence[float]],
        negative: Sequence[Sequence[float]] = (),
        box: Sequence[Sequence[float]] = (),
    ) -> Mask:
        clicks = [Click(x, y) for x, y in positive] + [Click(x, y, False) for x, y in negative]
        mask = engine.segment(frame, clicks, Box(*box[0], *box[1]) if box else None).mask
        assert 0 < np.mean(mask) < 1
        return mask

    return find
