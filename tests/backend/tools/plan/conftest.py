from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.tools.plan.replica_model import Budgets
from backend.tools.plan.service_times import ImageBytes, Measured, Part, ServiceTimes

ROOM_FOR_ALL = 1 << 40
# No two sums of these are the same, so that a click's time tells what it is made of.
SECONDS = {
    Part.PREPARATION: 16.0,
    Part.DISK: 8.0,
    Part.HOST: 4.0,
    Part.FIRST_CLICK: 2.0,
    Part.NEXT_CLICK: 1.0,
    Part.HAND_OVER: 0.25,
}


@pytest.fixture
def make_times() -> Callable[..., ServiceTimes]:
    """Parts that always take the same time, or one of these times each; images of 10, 3 and 2 bytes, a click of 1."""

    def make(**values: list[float]) -> ServiceTimes:
        given = {Part[name]: seconds for name, seconds in values.items()}
        return ServiceTimes(
            machine="a replica",
            seconds={
                part: Measured(source="made up", values=tuple(given.get(part, [seconds])))
                for part, seconds in SECONDS.items()
            },
            bytes=ImageBytes(source="made up", device=10, click=1, host=3, disk=2),
        )

    return make


@pytest.fixture
def times(make_times: Callable[..., ServiceTimes]) -> ServiceTimes:
    return make_times()


@pytest.fixture
def roomy() -> Budgets:
    return Budgets(ROOM_FOR_ALL, ROOM_FOR_ALL, ROOM_FOR_ALL, images=64)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes figures into a file of this name."""

    def write_json(figures: Any, name: str = "times.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(figures))
        return path

    return write_json
