"""``m2n2 benchmark serve``: what clicks take over HTTP while several annotators work.

Imports what it needs when it runs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from backend.tools.benchmark.tables import print_table
from backend.tools.context import ServerToolSettings
from m2n2_engine.tools.benchmark.commands import MarkdownOption
from m2n2_engine.tools.benchmark.verdicts import COLUMNS as TARGET_COLUMNS
from m2n2_engine.tools.benchmark.verdicts import Target, describe_target, render_targets
from m2n2_engine.tools.context import output, working_on

if TYPE_CHECKING:
    from backend.tools.load import Load

_COLUMNS = ["what", "median, s", "p95, s", "p99, s", "longest, s", "answers"]

_BOUND_ANNOTATORS, _BOUND_SIZE = 16, "1024x1024"
"""What a GPU's server is promised for: an image each, and no other work of the same machine."""

_BOUND_RUN = "needs CUDA and --annotators 16 --size 1024x1024"


def serve(
    context: typer.Context,
    annotators: Annotated[int, typer.Option(min=1, help="How many click at the same time.")] = 4,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks of each, one after the other.")] = 20,
    images: Annotated[int | None, typer.Option(min=1, help="Images they share; without it one each.")] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the images.")] = "640x480",
    url: Annotated[str | None, typer.Option(help="A server that runs already; without it one is started.")] = None,
    json_file: Annotated[Path, typer.Option("--json", help="File to write the figures to.")] = Path(
        "out/benchmark-serve.json"
    ),
    markdown: MarkdownOption = None,
) -> None:
    """Time clicks through the server: first ones at once, throughput, latency, and /health meanwhile."""
    from backend.tools.load import Work, draw_uris, run_load
    from backend.tools.predict_client import read_auth, read_health
    from m2n2_engine.tools.benchmark.files import write_json
    from m2n2_engine.tools.benchmark.images import parse_size
    from m2n2_engine.tools.benchmark.machine import describe_run

    settings: ServerToolSettings = context.obj
    width, height = parse_size(size)
    write_json(json_file, {})  # a place that cannot be written is known before anything is measured
    with working_on("annotators are clicking"):
        count = annotators if images is None else images
        if url is None:
            load, health = _load_own_server(annotators, clicks, count, (height, width))
        else:
            # Images that it cannot know from an earlier run.
            uris = draw_uris(count, (height, width), first=time.time_ns())
            work = Work(uris, (height, width), clicks, read_auth(settings.server))
            health = read_health(url.rstrip("/"), work.auth)
            load = run_load(url.rstrip("/"), annotators, work)
    server = {name: health.get(name) for name in ("backbone", "grid", "device", "threads")}
    run = {**describe_run(None), **server, "annotators": annotators, "images": count, "size": size}
    figures = {"run": run, **summarise(load, count)}
    figures["targets"] = [describe_target(target) for target in bound_server(figures)]
    rows = _render_rows(figures)
    _print_figures(figures, rows)
    write_json(json_file, figures)
    if markdown is not None:
        _write_markdown(markdown, figures, rows)


def summarise(load: Load, images: int) -> dict[str, Any]:
    """Seconds of clicks and of /health, and clicks answered a second. images: that the annotators share."""
    annotators = len(load.answers)
    first = f"first clicks of {annotators} annotators on {min(images, annotators)} new images at once"
    seconds = {"a click": load.click_seconds, first: load.first_seconds, "later clicks": load.later_seconds}
    seconds["/health meanwhile"] = load.health_seconds
    return {
        "clicks_per_second": len(load.click_seconds) / load.wall_seconds,
        "wall_seconds": load.wall_seconds,
        "seconds": {what: _summarise(found) for what, found in seconds.items() if found},
    }


def bound_server(figures: dict[str, Any]) -> Iterator[Target]:
    """What a server on an H100 or H200 has to do; every click counts, the first ones too."""
    run, click = figures["run"], figures["seconds"]["a click"]
    is_bound = str(run["device"]).startswith("cuda") and (run["annotators"], run["size"]) == (
        _BOUND_ANNOTATORS,
        _BOUND_SIZE,
    )
    rate = figures["clicks_per_second"]
    name = f"H100 or H200, {_BOUND_ANNOTATORS} annotators, 1 megapixel"
    for what, measured, bound, is_ceiling, unit, how in (
        ("median of a click", click["median"], 0.06, True, "s", ""),
        ("p99 of a click", click["p99"], 0.5, True, "s", ""),
        ("clicks", rate, 100.0, False, "a second", "one after the other on one GPU, a click may then take 0.01 s"),
    ):
        told = how if is_bound else "; ".join(filter(None, [_BOUND_RUN, how]))
        yield Target(f"{name}: {what}", measured if is_bound else None, bound, is_ceiling, unit, told)


def _summarise(seconds: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(seconds),
        "p95": float(np.percentile(seconds, 95)),
        "p99": float(np.percentile(seconds, 99)),
        "longest": max(seconds),
        "answers": len(seconds),
    }


def _load_own_server(annotators: int, clicks: int, images: int, size: tuple[int, int]) -> tuple[Load, dict[str, Any]]:
    from backend.tools.load import Work, draw_files, run_load
    from backend.tools.local_server import LocalServer
    from backend.tools.predict_client import read_health

    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "images"
        files.mkdir()
        work = Work(draw_files(files, images, size), size, clicks)
        with LocalServer({"M2N2_LOCAL_FILES_ROOT": str(files)}, Path(folder) / "server.log") as server:
            return run_load(server.url, annotators, work), read_health(server.url, None)


def _render_rows(figures: dict[str, Any]) -> list[list[str]]:
    return [
        [what, *(f"{found[name]:.3f}" for name in ("median", "p95", "p99", "longest")), str(found["answers"])]
        for what, found in figures["seconds"].items()
    ]


def _print_figures(figures: dict[str, Any], rows: list[list[str]]) -> None:
    output.print(", ".join(f"{name} {value}" for name, value in figures["run"].items()), highlight=False)
    print_table(_COLUMNS, rows)
    output.print(_render_throughput(figures), highlight=False)
    print_table(TARGET_COLUMNS, render_targets(figures["targets"]))


def _write_markdown(path: Path, figures: dict[str, Any], rows: list[list[str]]) -> None:
    from m2n2_engine.tools.benchmark.markdown import render_run, render_table, replace_section

    device = figures["run"]["device"]
    parts = [f"## Server, {device}", render_run(figures["run"]), render_table(_COLUMNS, rows)]
    parts += [_render_throughput(figures), render_table(TARGET_COLUMNS, render_targets(figures["targets"]))]
    replace_section(path, f"server {device}", "\n\n".join(parts))


def _render_throughput(figures: dict[str, Any]) -> str:
    return f"{figures['clicks_per_second']:.2f} clicks a second over {figures['wall_seconds']:.1f} s."
