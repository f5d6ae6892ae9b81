"""The figures of a run: as a table, as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from m2n2_engine.tools.benchmark.images import Size
from m2n2_engine.tools.benchmark.steps import Comparison
from m2n2_engine.tools.benchmark.tiers import Rotation, TierFigures
from m2n2_engine.tools.benchmark.timing import Samples
from m2n2_engine.tools.benchmark.verdicts import COLUMNS, Target, describe_target, render_targets
from m2n2_engine.types import Tier

MEBIBYTE = 1024 * 1024

_WIDEST = 240
"""Columns of text: a table is not folded to the width of a terminal, nor where its output goes to a file."""

_READY = {
    Tier.NETWORK: "preparation",
    Tier.DISK: "restore from disk",
    Tier.HOST: "restore from host",
    Tier.DEVICE: "found on device",
}


@dataclasses.dataclass(frozen=True)
class SizeReport:
    """One size of image."""

    size: Size
    tiers: TierFigures
    click: Comparison

    @property
    def timings(self) -> dict[str, Samples]:
        """By what was timed, in the order of the table."""
        found = {name: self.tiers.found[tier] for tier, name in _READY.items() if tier in self.tiers.found}
        clicks = {
            "first click": self.tiers.first_click,
            "next click": self.tiers.next_click,
            f"{len(self.tiers.clicks)} clicks": self.tiers.sequence,
            self.click.what: self.click.fast,
        }
        direct = {f"{self.click.what}, direct form": self.click.direct} if self.click.direct else {}
        return {**found, **clicks, **direct}


@dataclasses.dataclass(frozen=True)
class BackboneReport:
    """One backbone at one grid with one preset. steps: of the first size. peak_resident_bytes: of the process until
    now."""

    backbone: str
    grid: str
    preset: str
    device: str
    sizes: Sequence[SizeReport]
    steps: Sequence[Comparison]
    rotation: Rotation
    targets: Sequence[Target]
    peak_resident_bytes: int


def to_json(run: dict[str, Any], reports: Sequence[BackboneReport]) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    return {"run": run, "backbones": [_render_backbone(report) for report in reports]}


def print_figures(figures: dict[str, Any], console: Console) -> None:
    """The tables of what ``to_json`` gives."""
    console.print(", ".join(f"{name} {value}" for name, value in figures["run"].items()), highlight=False)
    wide = Console(file=console.file, width=_WIDEST)
    for title, columns, rows in render_tables(figures):
        table = Table(title=title, title_justify="left", box=None)
        for column in columns:
            table.add_column(column, justify="left" if column == columns[0] else "right")
        for row in rows:
            table.add_row(*row)
        wide.print(table)


def render_tables(figures: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, columns, rows) of each table of what ``to_json`` gives."""
    tables = []
    for report in figures["backbones"]:
        name = f"{report['backbone']}, grid {report['grid']}, {report['preset']}, {report['device']}"
        tables.append((f"{name}: median / p95 in seconds", *_render_sizes(report)))
        if report["steps"]:
            title = f"{name}: steps at {report['sizes'][0]['size']}, medians in seconds"
            tables.append((title, *_render_steps(report)))
        tables.append((f"{name}: targets", list(COLUMNS), render_targets(report["targets"])))
    return tables


def _render_backbone(report: BackboneReport) -> dict[str, Any]:
    return {
        "backbone": report.backbone,
        "grid": report.grid,
        "preset": report.preset,
        "device": report.device,
        "peak_resident_bytes": report.peak_resident_bytes,
        "sizes": [
            {
                "size": f"{size.size[0]}x{size.size[1]}",
                "megapixels": size.size[0] * size.size[1] / 1e6,
                "seconds": {name: _render_samples(samples) for name, samples in size.timings.items()},
                "clicks": [_render_samples(samples) for samples in size.tiers.clicks],
                "bytes": dict(size.tiers.nbytes),
                "peak_device_bytes": size.tiers.peak_device_bytes,
            }
            for size in report.sizes
        ],
        "steps": [
            {
                "what": step.what,
                "seconds": _render_samples(step.fast),
                "direct_seconds": _render_samples(step.direct),
                "ratio": step.ratio,
            }
            for step in report.steps
        ],
        "rotation": {
            "resident": _render_samples(report.rotation.resident),
            "alone": _render_samples(report.rotation.alone),
        },
        "targets": [describe_target(target) for target in report.targets],
    }


def _render_samples(samples: Samples | None) -> dict[str, float] | None:
    if samples is None:
        return None
    return {"median": samples.median, "p95": samples.p95, "samples": len(samples.seconds)}


def _render_sizes(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    sizes = report["sizes"]
    columns = ["", *(f"{size['megapixels']:.2g} MP, {size['size']}" for size in sizes)]
    timed = dict.fromkeys(name for size in sizes for name in size["seconds"])
    rows = [[name, *(_render_time(size["seconds"].get(name)) for size in sizes)] for name in timed]
    tiers = dict.fromkeys(tier for size in sizes for tier in size["bytes"])
    rows += [[f"MiB on {tier}", *(_render_mib(size["bytes"].get(tier)) for size in sizes)] for tier in tiers]
    peaks = [size["peak_device_bytes"] for size in sizes]
    if any(peaks):
        rows.append(["peak memory on the device, MiB", *map(_render_mib, peaks)])
    rows.append(["peak memory of the process, MiB", _render_mib(report["peak_resident_bytes"])])
    return columns, [row + [""] * (len(columns) - len(row)) for row in rows]


def _render_steps(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for step in report["steps"]:
        direct = step["direct_seconds"]
        ratio = "" if direct is None else f"{step['ratio']:.1f}"
        shown = "" if direct is None else f"{direct['median']:.4f}"
        rows.append([step["what"], shown, f"{step['seconds']['median']:.4f}", ratio])
    return ["step", "direct form", "this engine", "times faster"], rows


def _render_time(samples: dict[str, float] | None) -> str:
    return "" if samples is None else f"{samples['median']:.3g} / {samples['p95']:.3g}"


def _render_mib(nbytes: int | None) -> str:
    return "" if nbytes is None else f"{nbytes / MEBIBYTE:.1f}"
