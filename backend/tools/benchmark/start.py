"""``m2n2 benchmark start``: what it takes until the server is ready, and what a call of the command line costs.

Imports what it needs when it runs.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.tools.benchmark.tables import print_table
from backend.tools.context import ServerToolSettings
from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools.benchmark.commands import MarkdownOption
from m2n2_engine.tools.benchmark.verdicts import COLUMNS as TARGET_COLUMNS
from m2n2_engine.tools.benchmark.verdicts import Target, describe_target, render_targets
from m2n2_engine.tools.context import output, working_on

if TYPE_CHECKING:
    from m2n2_engine.types import Image

_COLUMNS = ["what", "median, s", "longest, s", "times"]

READY = "server: from its start until /ready, kernels kept"
CALL = "m2n2 segment: a call, the image in the cache on disk"
CALL_PROCESSOR = "the same, in processor time"
WORK_PROCESSOR = "the same image and click in an engine that runs, in processor time"

_CLICK = (0.5, 0.5)
"""Of the measured call, as shares of width and height."""

_PROGRAM = "from backend.cli.main import main; main()"


class CallFailed(M2N2Error):
    """The command line did not do what was to be measured."""


def start(
    context: typer.Context,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the images that are segmented.")] = "640x480",
    repeats: Annotated[int, typer.Option(min=1, help="Timed starts and calls.")] = 3,
    json_file: Annotated[Path, typer.Option("--json", help="File to write the figures to.")] = Path(
        "out/benchmark-start.json"
    ),
    markdown: MarkdownOption = None,
) -> None:
    """Time the start of the server until it is ready, and what a call of m2n2 segment costs beyond its work."""
    from m2n2_engine.tools.benchmark.files import write_json
    from m2n2_engine.tools.benchmark.images import make_images, parse_size
    from m2n2_engine.tools.benchmark.machine import describe_run

    settings: ServerToolSettings = context.obj
    images = make_images(None, parse_size(size), repeats + 1)
    write_json(json_file, {})  # a place that cannot be written is known before anything is measured
    with tempfile.TemporaryDirectory() as folder, working_on("the server starts and commands are called"):
        ready, health = _time_starts(Path(folder), repeats)
        for number, image in enumerate(images):
            time_call(Path(folder), image, number)  # what puts the image into the cache is not timed
        calls = [time_call(Path(folder), image, number) for number, image in enumerate(images)][1:]
        work = _time_work(settings, Path(folder), images)
    seconds = {
        READY: ready,
        CALL: [wall for wall, _ in calls],
        CALL_PROCESSOR: [processor for _, processor in calls],
        WORK_PROCESSOR: work,
    }
    server = {name: health.get(name) for name in ("backbone", "grid", "device", "threads")}
    figures: dict[str, Any] = {
        "run": {**describe_run(None), **server, "size": size},
        "seconds": {what: _summarise(found) for what, found in seconds.items()},
    }
    figures["targets"] = [describe_target(target) for target in bound_starts(figures)]
    _show(figures, markdown)
    write_json(json_file, figures)


def bound_starts(figures: Mapping[str, Any]) -> Iterator[Target]:
    """What a call may cost beside its work, and how soon a GPU's server is ready."""
    run, seconds = figures["run"], figures["seconds"]
    beside = seconds[CALL_PROCESSOR]["median"] - seconds[WORK_PROCESSOR]["median"]
    yield Target("m2n2 segment: processor time of a call beside its work", beside, 2.0, True, "s", "medians")
    is_bound = str(run["device"]).startswith("cuda") and str(run["backbone"]).startswith("stable-diffusion-2")
    how = "" if is_bound else "needs CUDA and M2N2_BACKBONE=stable-diffusion-2"
    measured = seconds[READY]["median"] if is_bound else None
    yield Target("H100 or H200, SD 2: from the start until /ready, kernels kept", measured, 25.0, True, "s", how)


def _time_starts(folder: Path, repeats: int) -> tuple[list[float], dict[str, Any]]:
    """Seconds of each start but the first one, which compiles kernels where none are kept; and what /health says."""
    from backend.tools.local_server import LocalServer
    from backend.tools.predict_client import read_health

    seconds = []
    health: dict[str, Any] = {}
    for _ in range(repeats + 1):
        with LocalServer({}, folder / "server.log") as server:
            seconds.append(server.start_seconds)
            health = read_health(server.url, None)
    return seconds[1:], health


def time_call(folder: Path, image: Image, number: int) -> tuple[float, float]:
    """Seconds of a call in a process of its own, by the clock and of processors. Raises CallFailed."""
    from PIL import Image as PillowImage

    from backend.tools.local_server import local_environment

    path = folder / f"{number}.png"
    PillowImage.fromarray(image).save(path)
    height, width = image.shape[:2]
    point = f"{_CLICK[0] * width},{_CLICK[1] * height}"
    words = ["segment", str(path), "--point", point, "--output", str(folder / f"{number}-mask.png")]
    # A cache of its own: no image is known but from the calls of this run.
    environ = local_environment({"M2N2_DISK_CACHE_FOLDER": str(_find_attention(folder))})
    before, started = _read_children_seconds(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    if done.returncode != 0:
        raise CallFailed(f"m2n2 segment ended with status {done.returncode}: {done.stderr.strip()}")
    return wall, _read_children_seconds() - before


def _find_attention(folder: Path) -> Path:
    """Where the measured calls keep images."""
    return folder / "calls.attention"


def _time_work(settings: ServerToolSettings, folder: Path, images: Sequence[Image]) -> list[float]:
    """Processor seconds of each image's first click, from what the calls have kept of it, but the first image's, with
    which the engine warms up."""
    from m2n2_engine.types import Click

    engine = settings.load(dataclasses.replace(settings.engine, disk_cache_folder=_find_attention(folder)))
    seconds = []
    for image in images:
        height, width = image.shape[:2]
        started = time.process_time()
        engine.segment(image, [Click(_CLICK[0] * width, _CLICK[1] * height)])
        seconds.append(time.process_time() - started)
    return seconds[1:]


def _read_children_seconds() -> float:
    """Of processors, for the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _summarise(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "longest": max(seconds), "samples": len(seconds)}


def _show(figures: Mapping[str, Any], markdown: Path | None) -> None:
    """Print the tables, and write them into their section where there is a file for it."""
    from m2n2_engine.tools.benchmark.markdown import render_run, render_table, replace_section

    rows = [
        [what, f"{found['median']:.2f}", f"{found['longest']:.2f}", str(found["samples"])]
        for what, found in figures["seconds"].items()
    ]
    targets = render_targets(figures["targets"])
    output.print(", ".join(f"{name} {value}" for name, value in figures["run"].items()), highlight=False)
    print_table(_COLUMNS, rows)
    print_table(TARGET_COLUMNS, targets)
    if markdown is not None:
        device = figures["run"]["device"]
        tables = [render_table(_COLUMNS, rows), render_table(TARGET_COLUMNS, targets)]
        parts = [f"## Start and command line, {device}", render_run(figures["run"]), *tables]
        replace_section(markdown, f"start {device}", "\n\n".join(parts))
