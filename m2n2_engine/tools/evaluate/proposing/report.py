"""The figures of a study: one row for each number of examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from m2n2_engine.proposals.confidence import LEAST_SCORE
from m2n2_engine.tools.evaluate.proposing.study import COUNTS, LEAST_STUDIED, Outcome

_SCORES = (LEAST_STUDIED, LEAST_SCORE, 0.2, 0.3, 0.5)
"""Rows by score. Here: the least that is studied, that of ``Engine.propose``, and that of ``M2N2_PROPOSE_SCORE``."""


def print_study(name: str, outcomes: Sequence[Outcome], console: Console) -> None:
    """Print one table by the number of examples, and one by the least score of what is proposed."""
    own = {count: [each for each in outcomes if each.examples == count and each.objects] for count in COUNTS}
    known = {count: some for count, some in own.items() if some}
    surest = Table(title=f"Proposals on {name}: the surest of a picture, IoU with all objects of the label")
    for heading in ("examples", "pictures", "mean IoU", "cells' labels", "mask copied"):
        surest.add_column(heading, justify="right")
    by_score = Table(title="By the least score of a proposal: those found at IoU 0.5")
    for heading in ("examples", "score", "proposals", "precision", "recall"):
        by_score.add_column(heading, justify="right")
    for count, some in known.items():
        ious = np.mean([each.ious for each in some], axis=0)
        surest.add_row(str(count), str(len(some)), *(f"{iou:.3f}" for iou in ious))
        for score in _SCORES:
            by_score.add_row(str(count), str(score), *_describe(score, some))
    console.print(surest)
    console.print(by_score)
    absent = [each for each in outcomes if not each.objects]
    if absent:
        quiet = (f"{sum(not _is_proposed(each, score) for each in absent)} at {score}" for score in _SCORES)
        text = f"without a like object: of {len(absent)} pictures so many got none: {', '.join(quiet)}"
        console.print(text, highlight=False)


def write_study(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write every outcome as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n", encoding="utf-8")


def _is_proposed(outcome: Outcome, least_score: float) -> bool:
    return any(score >= least_score for score in outcome.scores)


def _describe(least_score: float, outcomes: Sequence[Outcome]) -> tuple[str, str, str]:
    """Number, precision and recall of the proposals of at least this score."""
    hits = [hit for each in outcomes for hit, score in zip(each.hits, each.scores, strict=True) if score >= least_score]
    found = sum(score >= least_score for each in outcomes for score in each.found)
    precision = f"{np.mean(hits):.2f}" if hits else "-"
    return str(len(hits)), precision, f"{found / sum(each.objects for each in outcomes):.2f}"
