"""``m2n2 plan``: how many replicas so many annotators need, by a simulation with measured times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.tools.context import ServerToolSettings
from m2n2_engine.tools.context import output, working_on
from m2n2_engine.tools.optional_packages import MATPLOTLIB, SIMPY


def plan(
    context: typer.Context,
    times: Annotated[
        list[Path],
        typer.Option(exists=True, dir_okay=False, help="Measured times; of several files the later ones count."),
    ],
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Images, where a file of `m2n2 benchmark` has several.")
    ] = None,
    annotators: Annotated[str, typer.Option(metavar="N,...", help="At the same time.")] = "10,100,1000,10000",
    images: Annotated[int, typer.Option(min=1, help="Of each annotator.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="How often she goes through them.")] = 2,
    clicks: Annotated[int, typer.Option(min=1, help="On an image, each time.")] = 5,
    think: Annotated[float, typer.Option(min=0.01, help="Seconds before a click, in the mean.")] = 3.0,
    p95: Annotated[float, typer.Option(min=0.001, help="Seconds that 95 of 100 clicks may take.")] = 1.0,
    own_disk: Annotated[bool, typer.Option("--own-disk", help="Each replica has a disk cache of its own.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="File to write the figures to.")] = Path("out/plan.json"),
    plot: Annotated[bool, typer.Option("--plot", help="Draw a picture beside the JSON.")] = False,
) -> None:
    """Simulate annotators and replicas, and find how many replicas keep the waiting short."""
    SIMPY.require("a plan")
    if plot:
        MATPLOTLIB.require("a plot")
    from backend.tools.plan.annotators import Workload
    from backend.tools.plan.replica_model import read_budgets
    from backend.tools.plan.report import COLUMNS, draw_plot, render_rows, to_json
    from backend.tools.plan.service_times import read_service_times
    from backend.tools.plan.sizing import Question, find_replicas
    from m2n2_engine.tools.benchmark.files import write_json

    counts = parse_counts(annotators)
    settings: ServerToolSettings = context.obj
    question = Question(
        workload=Workload(counts[0], images, rounds, clicks, think),
        times=read_service_times(times, size),
        budgets=read_budgets(settings.server),
        is_disk_shared=not own_disk,
        p95_seconds=p95,
        seed=seed,
    )
    write_json(json_file, {})  # a place that cannot be written is known before anything is simulated
    with working_on("simulated annotators are clicking"):
        answers = list(find_replicas(question, counts))
    output.print(question.times.machine, highlight=False)
    _print_table(COLUMNS, render_rows(answers))
    figures = to_json(question, answers)
    write_json(json_file, figures)
    if plot:
        draw_plot(figures, json_file.with_suffix(".png"))


def parse_counts(text: str) -> list[int]:
    """``10,100`` -> numbers from 1 on. Raises BadParameter."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise typer.BadParameter(f"{text} should be numbers of annotators like 10,100")
    return counts


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    output.print(table)
