"""The figures of a dataset, as JSON."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from m2n2_engine.tools.evaluate.measures.by_size import split_sizes
from m2n2_engine.tools.evaluate.measures.metrics import score
from m2n2_engine.tools.evaluate.measures.summary import summarise
from m2n2_engine.tools.evaluate.measures.totals import total_invariants
from m2n2_engine.tools.evaluate.options import Band, BoxKind, ClicksAt, Options
from m2n2_engine.tools.evaluate.refinement import Refinement

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
    boxes = 1 - options.first_number
    return {
        "dataset": dataset,
        "objects": len({found.instance for found in refinements}),
        **dataclasses.asdict(options),
        "run": dict(run),
        "settings": dict(settings),
        "prepare_seconds": _median(found.prepare_seconds for found in refinements),
        "box_seconds": _median(found.click_seconds[0] for found in refinements if found.box is not None),
        "click_seconds": _median(second for found in refinements for second in found.click_seconds[boxes:]),
        "figures": {band: _report_band(found, options) for band, found in split_bands(refinements).items()},
        "refinements": [_render(found) for found in refinements],
    }


def describe(figures: Figures) -> str:
    """In one line, what figures must have in common to be compared."""
    run = figures["run"]
    flips = "mean over the four flips of image and truth" if len(figures["flips"]) > 1 else "no flips"
    parts = [f"rule {figures['rule']}", *_describe_prompts(figures), flips]
    engine = f"{run['backbone']}, grid {run['grid']}, preset {run['preset']}, {run['device']}"
    return f"{engine}; {', '.join(parts)}; {run['date']}"


def _describe_prompts(figures: Figures) -> list[str]:
    parts = []
    if figures["box"] is not None:
        parts.append(f"{BoxKind(figures['box'])} box")
    parts.append(f"{figures['clicks']} clicks")
    if figures["clicks_at"] != ClicksAt.CENTRE:
        seed = "" if figures["seed"] is None else f" with seed {figures['seed']}"
        parts.append(f"at {figures['clicks_at']}{seed}")
    return parts


def _report_band(refinements: Sequence[Refinement], options: Options) -> dict[str, Any]:
    return {
        **summarise(refinements, options),
        "invariants": total_invariants(refinements, options),
        "by_size": {size: summarise(found, options) for size, found in split_sizes(refinements).items()},
    }


def _median(seconds: Iterable[float | None]) -> float | None:
    known = [second for second in seconds if second is not None]
    return statistics.median(known) if known else None


def _render(refinement: Refinement) -> dict[str, Any]:
    shown = refinement.to_json()
    del shown["shown_mask"]
    shown["marks"] = [{"number": mark.number, "boundary_f": mark.boundary_f} for mark in refinement.marks]
    return {**shown, "noc": score([refinement.ious], refinement.first_number).noc}
