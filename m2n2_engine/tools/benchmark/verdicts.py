"""Promises of a benchmark, what was measured of them, and whether they were kept. Imports no torch."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = ("promise", "target", "measured", "verdict", "how")


class Verdict(enum.StrEnum):
    """What came of a target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A promise. bound: what ``measured`` must not be below or, where ``is_ceiling``, above; both in ``unit``.

    measured: None where this run could not tell. how: by which figures, or what would tell.
    """

    promise: str
    measured: float | None
    bound: float
    is_ceiling: bool = False
    unit: str = "times"
    how: str = ""

    @property
    def verdict(self) -> Verdict:
        """Met up to the bound itself."""
        if self.measured is None:
            return Verdict.NOT_MEASURED
        kept = self.measured <= self.bound if self.is_ceiling else self.measured >= self.bound
        return Verdict.MET if kept else Verdict.MISSED


def describe_target(target: Target) -> dict[str, Any]:
    """A target with its verdict, for JSON."""
    return {**dataclasses.asdict(target), "verdict": target.verdict}


def render_targets(described: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """A row of COLUMNS for each target, as ``describe_target`` gives it."""
    rows = []
    for target in described:
        bound = f"{'at most' if target['is_ceiling'] else 'at least'} {target['bound']:g} {target['unit']}"
        measured = "" if target["measured"] is None else f"{target['measured']:.3g}"
        rows.append([target["promise"], bound, measured, target["verdict"], target["how"]])
    return rows
