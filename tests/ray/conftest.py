"""A cluster of this machine, a client of two replicas on it, and the engine whose answers theirs must be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.engines.ray_cluster import connect
from backend.engines.ray_segmenter import RaySegmenter
from backend.settings import load_settings
from backend.tools.ray.replicas import APP_NAME, deploy, start_cluster
from m2n2_engine.engine import Engine, load_engine
from m2n2_engine.types import Picture

SHAPE = (480, 640)
SETTINGS = {"M2N2_BACKBONE": "tiny", "M2N2_WORKING_SIZE_PIXELS": "512", "M2N2_DISK_CACHE_MIB": "0"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kuberay-crd", type=Path, help="CustomResourceDefinition of KubeRay's RayService, YAML")


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a cluster with room for two replicas, each with one processor."""
    with pytest.MonkeyPatch.context() as environ:
        for name, value in {**SETTINGS, "RAY_USAGE_STATS_ENABLED": "0"}.items():
            environ.setenv(name, value)
        with start_cluster(processors=2) as address:
            yield address


@pytest.fixture(scope="session")
def local() -> Engine:
    return load_engine(load_settings(SETTINGS).engine_config())


@pytest.fixture(scope="session")
def segmenter(address: str) -> RaySegmenter:
    """A client that sees the status of the replicas as it is now."""
    deploy(2, 1)
    return RaySegmenter(connect(address, APP_NAME), status_seconds=0)


@pytest.fixture(scope="session")
def make_image() -> Callable[[], Picture]:
    """A bright box on noise, of 640 x 480 and never the same."""
    seeds = itertools.count()

    def make() -> Picture:
        rng = np.random.default_rng(next(seeds))
        image = rng.integers(40, 60, (*SHAPE, 3), np.uint8)
        top, left = rng.integers(20, 120, 2)
        image[top : top + 200, left : left + 260] += rng.integers(60, 150, 3, np.uint8)
        return Picture.of(image)

    return make
