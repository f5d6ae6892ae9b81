"""The figures of a dataset: as JSON, and as a table to print."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from m2n2_engine.tools.evaluate.metrics import THRESHOLDS, score
from m2n2_engine.tools.evaluate.options import Band, Options
from m2n2_engine.tools.evaluate.refinement import Refinement

_WIDEST = 250
"""Characters of a table's line: it is not cut to the width of a terminal, so that it can be copied into a document."""

Figures = dict[str, Any]
"""What ``to_json`` gives."""


def split_bands(refinements: Sequence[Refinement]) -> dict[Band, list[Refinement]]:
    """The refinements by band, in their order."""
    bands = dict.fromkeys(found.band for found in refinements)
    return {band: [found for found in refinements if found.band is band] for band in bands}


def to_json(
    dataset: str,
    run: Mapping[str, Any],
    settings: Mapping[str, Any],
    options: Options,
    refinements: Sequence[Refinement],
) -> Figures:
    """All figures of a dataset; times are medians in seconds, IoU is 0 to 1, thresholds are percent. run: date,
    machine, backbone, preset, grid and device. settings: everything that changes a figure."""
    return {
        "dataset": dataset,
        "objects": len({found.instance for found in refinements}),
        **dataclasses.asdict(options),
        "run": dict(run),
        "settings": dict(settings),
        "prepare_seconds": _median(found.prepare_seconds for found in refinements),
        "click_seconds": _median(second for found in refinements for second in found.click_seconds),
        "figures": {band: _summarise(found, options) for band, found in split_bands(refinements).items()},
        "refinements": [_render(found) for found in refinements],
    }


def describe(figures: Figures) -> str:
    """In one line, what figures must have in common to be compared."""
    run = figures["run"]
    flips = "mean over the four flips of image and truth" if len(figures["flips"]) > 1 else "no flips"
    return (
        f"{run['backbone']}, grid {run['grid']}, preset {run['preset']}, {run['device']}; rule {figures['rule']}, "
        f"{figures['clicks']} clicks, {flips}; {run['date']}"
    )


def print_table(reports: Sequence[Figures], console: Console) -> None:
    """A line for each dataset and band, under what all of them have in common."""
    first = reports[0]
    console.print(describe(first), highlight=False)
    columns = ["dataset", "objects", "unknown band", *(f"NoC{percent}" for percent in THRESHOLDS)]
    columns += [*(f"failures {percent} %" for percent in THRESHOLDS), "mIoU click 1", f"mIoU click {first['clicks']}"]
    table = Table(*columns, "s a click", "s to prepare", box=box.MARKDOWN)
    for report in reports:
        for band, found in report["figures"].items():
            table.add_row(report["dataset"], str(report["objects"]), band, *_render_cells(found, report))
    Console(file=console.file, width=_WIDEST).print(table)


def _summarise(refinements: Sequence[Refinement], options: Options) -> dict[str, Any]:
    """The figures of one band; failures are those of one flip, in the mean over the flips."""
    found = score([refinement.ious for refinement in refinements])
    return {
        "noc": found.noc,
        "failures": {percent: count / len(options.flips) for percent, count in found.failures.items()},
        "mean_iou": found.mean_ious,
    }


def _median(seconds: Iterable[float | None]) -> float | None:
    known = [second for second in seconds if second is not None]
    return statistics.median(known) if known else None


def _render(refinement: Refinement) -> dict[str, Any]:
    shown = refinement.to_json()
    del shown["shown_mask"]
    return {**shown, "noc": score([refinement.ious]).noc}


def _render_cells(found: Mapping[str, Any], report: Figures) -> list[str]:
    seconds = (report["click_seconds"], report["prepare_seconds"])
    return [
        *(f"{clicks:.2f}" for clicks in found["noc"].values()),
        *(f"{count:g}" for count in found["failures"].values()),
        f"{found['mean_iou'][0]:.3f}",
        f"{found['mean_iou'][-1]:.3f}",
        *("" if median is None else f"{median:.2f}" for median in seconds),
    ]
