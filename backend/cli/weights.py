"""``m2n2 weights``: what is at hand, fetch, verify."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from m2n2_engine.backbones import EMBEDDED
from m2n2_engine.tools.context import engine_config, output, working_on
from m2n2_engine.weights import store

app = typer.Typer(help="Model weights: list, get, verify.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name that `m2n2 weights list` shows.")]


@app.command("list")
def list_weights(context: typer.Context) -> None:
    """Every backbone's weights: licence, size, and where they lie."""
    table = Table(box=None)
    for column in ("name", "licence", "MB", "at hand", "source"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for entry, folder in store.list_weights(engine_config(context).weights):
        table.add_row(
            entry.name, entry.licence, str(entry.download_megabytes), str(folder) if folder else "no", entry.source
        )
    output.print(table)


@app.command()
def get(
    context: typer.Context,
    name: NameArgument = EMBEDDED,
    force: Annotated[bool, typer.Option(help="Fetch again what is already here.")] = False,
    half: Annotated[bool | None, typer.Option(help="Half-precision files; by default where there is CUDA.")] = None,
) -> None:
    """Fetch weights into the cache folder; what is already there is kept."""
    if half is None:
        import torch

        half = torch.cuda.is_available()
    config = engine_config(context).weights
    with working_on(f"fetching the weights {name}") as progress:
        folder = store.fetch(
            name,
            config,
            half=half,
            force=force,
            progress=lambda text: progress.update(progress.task_ids[0], description=text),
        )
    output.print(f"{name} is in {folder}")


@app.command()
def verify(context: typer.Context, name: NameArgument = EMBEDDED) -> None:
    """Compare the files at hand with their recorded sha256."""
    with working_on(f"verifying the weights {name}"):
        compared = store.verify(name, engine_config(context).weights)
    if compared:
        output.print(f"{name}: ok, {len(compared)} files have their recorded sha256")
    else:
        output.print(f"{name}: the files are there, but nothing is recorded of where they came from")
