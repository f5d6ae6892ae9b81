"""The figures of a study: one row for each number of examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from m2n2_engine.tools.evaluate.proposing.study import COUNTS, Outcome

_HEADINGS = ("examples", "pictures", "mean IoU", "cells' labels", "mask copied", "precision", "recall")


def print_study(name: str, outcomes: Sequence[Outcome], console: Console) -> None:
    """Print a table, and below it how many pictures without the label got no proposal."""
    table = Table(title=f"Proposals on {name}: IoU with all objects of the label; found at IoU 0.5")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for count in COUNTS:
        own = [each for each in outcomes if each.examples == count and each.objects]
        if own:
            table.add_row(*_describe(count, own))
    console.print(table)
    absent = [each for each in outcomes if not each.objects]
    if absent:
        quiet = sum(not each.hits for each in absent)
        console.print(f"without a like object: {quiet} of {len(absent)} pictures got none", highlight=False)


def write_study(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write every outcome as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n", encoding="utf-8")


def _describe(count: int, outcomes: Sequence[Outcome]) -> list[str]:
    ious = np.mean([each.ious for each in outcomes], axis=0)
    hits = [hit for each in outcomes for hit in each.hits]
    found, objects = sum(each.found for each in outcomes), sum(each.objects for each in outcomes)
    precision = f"{np.mean(hits):.2f} of {len(hits)}" if hits else "-"
    return [str(count), str(len(outcomes)), *(f"{iou:.3f}" for iou in ious), precision, f"{found / objects:.2f}"]
