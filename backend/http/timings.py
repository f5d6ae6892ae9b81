"""How long each stage of the current request took: for its log line, its Server-Timing header and the metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from flask import g


def record(stage: str, seconds: float) -> None:
    """Note that a stage of the current request took so long; what was noted for it before is added to."""
    stages: dict[str, float] = g.setdefault("stages", {})
    stages[stage] = stages.get(stage, 0.0) + seconds


@contextlib.contextmanager
def measure(stage: str) -> Iterator[None]:
    """Note how long the block takes, also where it raises."""
    started = time.perf_counter()
    try:
        yield
    finally:
        record(stage, time.perf_counter() - started)


def recorded() -> Mapping[str, float]:
    """Seconds by stage of the current request, in the order they began to be noted; empty where none was."""
    stages: dict[str, float] = g.get("stages", {})
    return stages
