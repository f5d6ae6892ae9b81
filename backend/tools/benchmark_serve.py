"""``m2n2 benchmark serve``: what clicks take over HTTP while several annotators work.

Imports what it needs when it runs.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from backend.tools.context import ServerToolSettings
from m2n2_engine.tools.benchmark.commands import MarkdownOption
from m2n2_engine.tools.context import output, working_on

if TYPE_CHECKING:
    from backend.tools.load import Load

_COLUMNS = ["what", "median, s", "p95, s", "longest, s", "answers"]


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
    """Time clicks through the server: throughput, latency, and /health meanwhile."""
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
            work = Work(draw_uris(count, (height, width)), (height, width), clicks, read_auth(settings.server))
            health = read_health(url.rstrip("/"), work.auth)
            load = run_load(url.rstrip("/"), annotators, work)
    server = {name: health.get(name) for name in ("backbone", "grid", "device", "threads")}
    run = {**describe_run(None), **server, "annotators": annotators, "images": count, "size": size}
    figures = {"run": run, **summarise(load)}
    rows = _render_rows(figures)
    _print_figures(figures, rows)
    write_json(json_file, figures)
    if markdown is not None:
        _write_markdown(markdown, figures, rows)


def summarise(load: Load) -> dict[str, Any]:
    """Seconds of clicks and of /health, and clicks answered a second."""
    seconds = load.click_seconds
    return {
        "clicks_per_second": len(seconds) / load.wall_seconds,
        "wall_seconds": load.wall_seconds,
        "seconds": {"a click": _summarise(seconds), "/health meanwhile": _summarise(load.health_seconds)},
    }


def _summarise(seconds: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(seconds),
        "p95": float(np.percentile(seconds, 95)),
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
        [what, *(f"{found[name]:.3f}" for name in ("median", "p95", "longest")), str(found["answers"])]
        for what, found in figures["seconds"].items()
    ]


def _print_figures(figures: dict[str, Any], rows: list[list[str]]) -> None:
    from rich.table import Table

    output.print(", ".join(f"{name} {value}" for name, value in figures["run"].items()), highlight=False)
    table = Table(box=None)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == _COLUMNS[0] else "right")
    for row in rows:
        table.add_row(*row)
    output.print(table)
    output.print(_render_throughput(figures), highlight=False)


def _write_markdown(path: Path, figures: dict[str, Any], rows: list[list[str]]) -> None:
    from m2n2_engine.tools.benchmark.markdown import render_run, render_table, replace_section

    device = figures["run"]["device"]
    parts = [f"## Server, {device}", render_run(figures["run"]), render_table(_COLUMNS, rows)]
    replace_section(path, f"server {device}", "\n\n".join([*parts, _render_throughput(figures)]))


def _render_throughput(figures: dict[str, Any]) -> str:
    return f"{figures['clicks_per_second']:.2f} clicks a second over {figures['wall_seconds']:.1f} s."
