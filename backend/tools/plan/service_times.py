"""How long the parts of a click take, as they were measured: what the simulation draws from."""

from __future__ import annotations

import enum
import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, ValidationError, model_validator

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Tier

# In standard deviations above the middle of a normal distribution.
_P95 = statistics.NormalDist().inv_cdf(0.95)


class Part(enum.StrEnum):
    """What the time of a click is made of, by the names that `m2n2 benchmark` gives it. HAND_OVER: from asking for a
    replica to having its answer, less what the replica worked and the click waited in it."""

    PREPARATION = "preparation"
    DISK = "restore from disk"
    HOST = "restore from host"
    FIRST_CLICK = "first click"
    NEXT_CLICK = "next click"
    HAND_OVER = "hand-over"


READYING = {Tier.NETWORK: Part.PREPARATION, Tier.DISK: Part.DISK, Tier.HOST: Part.HOST}
"""What makes an image resident, by where it was found."""

_MEASURED_BY_BENCHMARK = tuple(part for part in Part if part is not Part.HAND_OVER)


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Checked):
    """Seconds that one part took, again and again, any of which may be drawn. source: where they were measured."""

    source: str
    values: tuple[PositiveFloat, ...] = Field(min_length=1)

    @property
    def mean(self) -> float:
        """Seconds."""
        return statistics.fmean(self.values)

    def draw(self, rng: random.Random) -> float:
        """Seconds."""
        return rng.choice(self.values)


class Summary(_Checked):
    """Seconds that one part took, of which two numbers are left: drawn from the log-normal distribution that has them.

    source: where they were measured.
    """

    source: str
    median: PositiveFloat
    p95: PositiveFloat

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.p95 < self.median:
            raise ValueError("p95 should not be below the median")
        return self

    @property
    def mean(self) -> float:
        """Seconds."""
        return self.median * math.exp(self._sigma**2 / 2)

    def draw(self, rng: random.Random) -> float:
        """Seconds."""
        return rng.lognormvariate(math.log(self.median), self._sigma)

    @property
    def _sigma(self) -> float:
        return math.log(self.p95 / self.median) / _P95


class ImageBytes(_Checked):
    """Room that one image takes. source: where it was measured. device: of a session before its first click. click:
    that each of its clicks adds there. host, disk: of its features."""

    source: str
    device: NonNegativeInt
    click: NonNegativeInt = 0
    host: NonNegativeInt
    disk: NonNegativeInt


class ServiceTimes(_Checked):
    """What one replica needs for the parts of a click, one click at a time. machine: which replica."""

    machine: str
    seconds: Mapping[Part, Measured | Summary] = Field(min_length=len(Part))
    bytes: ImageBytes

    def draw(self, part: Part, rng: random.Random) -> float:
        """Seconds of one such part."""
        return self.seconds[part].draw(rng)


def read_service_times(paths: Sequence[Path], size: str | None = None) -> ServiceTimes:
    """The figures of these files together: what a later one has stands in place of what those before it have.

    A file has fields of `ServiceTimes`, or is what ``m2n2 benchmark --json`` writes; of that the first network and
    images of ``size`` (``640x480``), or of its first size. Raises ConfigurationError.
    """
    merged: dict[str, Any] = {"machine": "", "seconds": {}}
    for path in paths:
        figures = _read_json(path)
        if "backbones" in figures:
            figures = _convert_benchmark(figures, path, size)
        merged |= {**figures, "seconds": merged["seconds"] | figures.get("seconds", {})}
    try:
        return ServiceTimes.model_validate(merged)
    except ValidationError as error:
        missing = [part for part in Part if part not in merged["seconds"]]
        reason = f"no times of {', '.join(missing)}: add a file with them" if missing else _render(error)
        raise ConfigurationError(f"{', '.join(map(str, paths))}: {reason}") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(figures, dict):
        raise ConfigurationError(f"{path}: should be an object with the fields machine, seconds and bytes")
    return figures


def _convert_benchmark(figures: dict[str, Any], path: Path, size: str | None) -> dict[str, Any]:
    run, network = figures["run"], figures["backbones"][0]
    found = [report for report in network["sizes"] if size in (None, report["size"])]
    if not found:
        known = ", ".join(report["size"] for report in network["sizes"])
        raise ConfigurationError(f"{path} has no images of {size}: it has {known}")
    report = found[0]
    source = f"{run['command']}, {run['date']}"
    measured = {
        part: {"source": source, **{name: report["seconds"][part][name] for name in ("median", "p95")}}
        for part in _MEASURED_BY_BENCHMARK
    }
    device = run["processor"] if network["device"] == "cpu" else network["device"]
    machine = f"{device}: {network['backbone']}, grid {network['grid']}, {network['preset']}, {report['size']}"
    return {"machine": machine, "seconds": measured, "bytes": {"source": source, **report["bytes"]}}


def _render(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
