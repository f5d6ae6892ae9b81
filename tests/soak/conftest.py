"""One server with a tiny network for all tests of this folder, and how much they do.

``make soak`` sets SOAK=1: the figures of the acceptance. Without it the same tests do a small share, in seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis.configuration
import pytest

from tests.helpers.soak.server import TINY, Server

IS_FULL = os.environ.get("SOAK") == "1"


@pytest.fixture(scope="session", autouse=True)
def hypothesis_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What hypothesis keeps between runs goes to a temporary folder, not into the checkout."""
    hypothesis.configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(scope="session")
def is_full() -> bool:
    """Whether the figures of the acceptance are asked for."""
    return IS_FULL


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server with the tiny network, local files from a folder of ours and small limits."""
    folder: Path = tmp_path_factory.mktemp("tiny-server")
    (folder / "files").mkdir()
    environ = {
        **TINY,
        "M2N2_LOCAL_FILES_ROOT": str(folder / "files"),
        "M2N2_MAX_BODY_MIB": "1",
        "M2N2_BODY_TIMEOUT_SECONDS": "2",
        "M2N2_MAX_IMAGE_MEGAPIXELS": "1",
        "M2N2_SESSION_CACHE_MIB": "32",
        "M2N2_DISK_CACHE_FOLDER": str(folder / "attention"),
        "M2N2_LOG_LEVEL": "DEBUG",
        "M2N2_LOG_FORMAT": "json",
    }
    with Server(environ, folder / "server.log") as server:
        yield server
