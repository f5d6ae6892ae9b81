"""Many annotators at once against a real server: is every answer the one that is computed alone, and how long does it
take?

    python -m tests.helpers.soak.load --annotators 16 --clicks 20

Each annotator refines one object on an image of its own, click by click. Then a fresh server, which has seen none of
it, is asked the same one after another. Prints the figures; ends with status 1 where an answer differs or /health was
slow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from backend.label_studio.brush_rle import decode
from backend.tools.load import Answer, Load, Size, Work, draw_files, refine, run_load
from tests.helpers.soak.server import Server

LEAST_IOU = 0.999
MOST_HEALTH_SECONDS = 0.5

_MOST_CLICK_SECONDS = 100.0
"""What Label Studio waits."""


def find_differences(together: Sequence[Sequence[Answer]], alone: Sequence[Sequence[Answer]], size: Size) -> list[str]:
    """A line for each answer whose mask is not the one computed alone."""
    differences = []
    for annotator, (some, others) in enumerate(zip(together, alone, strict=True)):
        for number, (one, other) in enumerate(zip(some, others, strict=True), start=1):
            iou = intersection_over_union(one, other, size)
            if iou < LEAST_IOU:
                differences.append(f"annotator {annotator}, click {number}: IoU {iou:.4f}")
    return differences


def intersection_over_union(one: Answer, other: Answer, size: Size) -> float:
    """Of the masks; 1 where both are empty."""
    if one.rle == other.rle:
        return 1.0
    if not (one.rle and other.rle):
        return 0.0
    first, second = (decode(list(answer.rle), size) for answer in (one, other))
    return float((first & second).sum() / (first | second).sum())


def render_report(load: Load) -> str:
    """The figures, one line each."""
    seconds = load.click_seconds
    health = load.health_seconds
    return "\n".join(
        (
            f"{len(load.answers)} annotators x {len(load.answers[0])} clicks: {len(seconds)} answers in "
            f"{load.wall_seconds:.1f} s, {len(seconds) / load.wall_seconds:.2f} clicks/s",
            f"a click: median {statistics.median(seconds):.3f} s, p95 {np.percentile(seconds, 95):.3f} s, "
            f"longest {max(seconds):.3f} s",
            f"/health meanwhile: {len(health)} times, median {statistics.median(health):.3f} s, "
            f"longest {max(health):.3f} s",
        )
    )


def compare(
    environ: dict[str, str],
    folder: Path,
    annotators: int,
    clicks: int,
    size: Size,
    beside: Callable[[str], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> tuple[Load, list[str]]:
    """The load on one server, and what differs from a fresh one that is asked one click after another. beside: what
    else happens to the first one's address meanwhile."""
    images = folder / "images"
    images.mkdir()
    work = Work(draw_files(images, annotators, size), size, clicks)
    environ = {**environ, "M2N2_LOCAL_FILES_ROOT": str(images)}
    with Server(environ, folder / "together.log") as server, beside(server.url):
        load = run_load(server.url, annotators, work)
    with Server(environ, folder / "alone.log") as server:
        alone = [refine(server.url, annotator, work) for annotator in range(annotators)]
    problems = find_differences(load.answers, alone, size)
    if max(load.health_seconds) >= MOST_HEALTH_SECONDS:
        problems.append(f"/health took {max(load.health_seconds):.3f} s")
    slow = sum(seconds >= _MOST_CLICK_SECONDS for seconds in load.click_seconds)
    if slow:
        problems.append(f"{slow} answers took more than the {_MOST_CLICK_SECONDS:g} s that Label Studio waits")
    if len({answers[0].rle for answers in load.answers}) < annotators:
        problems.append("two images have the same mask: this load would not notice a mix-up")
    return load, problems


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--size", default="640x480", help="of the images, in pixels")
    parser.add_argument("--setting", action="append", default=[], metavar="M2N2_NAME=value")
    arguments = parser.parse_args()
    environ = dict(setting.split("=", 1) for setting in arguments.setting)
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        load, problems = compare(environ, Path(folder), arguments.annotators, arguments.clicks, (height, width))
    sys.stdout.write(
        f"{arguments.size} pixels, {json.dumps(environ)}, {os.cpu_count()} processors\n{render_report(load)}\n"
    )
    sys.stdout.write("\n".join(problems) + "\n" if problems else "every answer is the one computed alone\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
