"""``m2n2 benchmark cvat``: what the bytes of an answer to CVAT cost beside Python's own way to make them.

Imports what it needs when it runs.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from m2n2_engine.tools.benchmark.commands import MarkdownOption
from m2n2_engine.tools.context import output, working_on
from m2n2_engine.types import Mask

_COLUMNS = ["size", "mask, s", "gzip of it, s", "shapes, s", "json.dumps(mask.tolist()), s", "mask: times faster"]
_BYTE_COLUMNS = ["mask, bytes", "gzip, bytes", "shapes, bytes"]
_LEAST_TIMES_FASTER = 10
_DISCS = 12
_SCORE = 0.75
"""Of the mask. Here: it is one number of an answer, whatever it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerFigures:
    """Median seconds to make each form of one mask's answer, and its bytes."""

    size: str
    mask_seconds: float
    gzip_seconds: float
    shapes_seconds: float
    python_seconds: float
    mask_bytes: int
    gzip_bytes: int
    shapes_bytes: int

    @property
    def times_faster(self) -> float:
        """The mask's bytes against Python's own way."""
        return self.python_seconds / self.mask_seconds


def cvat(
    sizes: Annotated[str, typer.Option(metavar="WxH,...", help="Sizes of the frames.")] = "1920x1080,4000x3000",
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 5,
    json_file: Annotated[Path, typer.Option("--json", help="File to write the figures to.")] = Path(
        "out/benchmark-cvat.json"
    ),
    markdown: MarkdownOption = None,
) -> None:
    """Time the bytes of an answer to CVAT: whole mask, gzip, run lengths, and Python's own JSON."""
    from m2n2_engine.tools.benchmark.files import write_json
    from m2n2_engine.tools.benchmark.images import parse_sizes
    from m2n2_engine.tools.benchmark.machine import describe_run
    from m2n2_engine.tools.benchmark.markdown import render_run, render_table, replace_section

    write_json(json_file, {})  # a place that cannot be written is known before anything is measured
    with working_on("answers are built"):
        figures = [measure(draw_mask((height, width)), repeats) for width, height in parse_sizes(sizes)]
    run = {**describe_run(None), "repeats": repeats}
    table = render_table([*_COLUMNS, *_BYTE_COLUMNS], [_render_row(found) for found in figures])
    verdict = _render_verdict(figures)
    output.print(f"{table}\n\n{verdict}", markup=False, highlight=False, soft_wrap=True)
    write_json(json_file, {"run": run, "answers": [dataclasses.asdict(found) for found in figures]})
    if markdown is not None:
        replace_section(markdown, "cvat", f"## Answers to CVAT\n\n{render_run(run)} Medians.\n\n{table}\n\n{verdict}")


def draw_mask(shape: tuple[int, int]) -> Mask:
    """Overlapping discs, about a third of the frame; bool ``(H, W)``."""
    height, width = shape
    y, x = np.ogrid[:height, :width]
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, np.bool_)
    for _ in range(_DISCS):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.05, 0.2) * min(shape)
        mask |= (x - cx) ** 2 + (y - cy) ** 2 < radius**2
    return mask


def measure(mask: Mask, repeats: int) -> AnswerFigures:
    """Every form in turn, so that all are timed under the same conditions."""
    from backend.cvat.answer import compress, render_mask, render_shapes

    body = render_mask(mask)
    forms: tuple[Callable[[], bytes], ...] = (
        lambda: render_mask(mask),
        lambda: compress(body),
        lambda: render_shapes(mask, _SCORE),
        lambda: json.dumps(mask.tolist()).encode(),
    )
    rounds = [[_time(form) for form in forms] for _ in range(repeats)]
    whole, packed, shapes, python = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    return AnswerFigures(
        size=f"{mask.shape[1]}x{mask.shape[0]}",
        mask_seconds=whole,
        gzip_seconds=packed,
        shapes_seconds=shapes,
        python_seconds=python,
        mask_bytes=len(body),
        gzip_bytes=len(compress(body)),
        shapes_bytes=len(render_shapes(mask, _SCORE)),
    )


def _time(build: Callable[[], bytes]) -> float:
    started = time.perf_counter()
    build()
    return time.perf_counter() - started


def _render_row(found: AnswerFigures) -> list[str]:
    seconds = (found.mask_seconds, found.gzip_seconds, found.shapes_seconds, found.python_seconds)
    sizes = (found.mask_bytes, found.gzip_bytes, found.shapes_bytes)
    return [found.size, *(f"{each:.4f}" for each in seconds), f"{found.times_faster:.0f}", *map(str, sizes)]


def _render_verdict(figures: list[AnswerFigures]) -> str:
    is_met = all(found.times_faster >= _LEAST_TIMES_FASTER for found in figures)
    return f"Target, mask at least {_LEAST_TIMES_FASTER} times faster: {'met' if is_met else 'missed'}."
