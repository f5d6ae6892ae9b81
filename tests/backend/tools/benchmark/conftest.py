"""What the tests of the benchmark's commands share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def tiny_settings(monkeypatch):
    for name, value in {"BACKBONE": "tiny", "GRID": "8", "THREADS": "1"}.items():
        monkeypatch.setenv(f"M2N2_{name}", value)
