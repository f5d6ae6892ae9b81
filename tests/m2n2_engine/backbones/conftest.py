from __future__ import annotations

from pathlib import Path

import pytest

from m2n2_engine.config import WeightsConfig


@pytest.fixture
def weights_config(tmp_path: Path) -> WeightsConfig:
    """An empty cache and no connections."""
    return WeightsConfig(cache_folder=tmp_path, offline=True)
