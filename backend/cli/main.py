"""The command ``m2n2``: the engine's tools and those for Label Studio, given the settings of the environment."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli import label_studio, plan, serve, warm
from backend.cli.commands import app
from backend.cli.ending import ending_at_once
from backend.process import calm_idle_threads
from backend.tools.benchmark import cvat as benchmark_cvat
from backend.tools.benchmark import formats, published, start
from backend.tools.benchmark import serve as benchmark_serve
from backend.tools.context import ServerToolSettings
from m2n2_engine import __version__
from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools.benchmark import commands as benchmark_commands
from m2n2_engine.tools.context import messages, output, without_collector

if TYPE_CHECKING:
    from backend.settings import Settings
    from m2n2_engine.types import ClickSegmenter

app.add_typer(label_studio.app, name="label-studio")
app.command()(serve.serve)
app.command()(warm.warm)
app.command()(plan.plan)
benchmark_commands.app.command()(benchmark_serve.serve)
benchmark_commands.app.command()(benchmark_cvat.cvat)
benchmark_commands.app.command()(start.start)
benchmark_commands.app.command()(formats.formats)
benchmark_commands.app.command()(published.published)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print(f"m2n2 {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def read_settings(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Training-free interactive segmentation for annotation platforms."""
    # Imported here: pydantic takes longer than all else that --help, --version and the shell's completion need.
    with without_collector():
        from backend.settings import load_settings

    calm_idle_threads()
    settings = load_settings()
    # Progress is shown by the commands themselves; the log speaks when it was asked to, or of problems.
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    if "log_level" in settings.model_fields_set:
        for name in ("backend", "m2n2_engine"):  # not of libraries: some of them log addresses with their secrets
            logging.getLogger(name).setLevel(settings.log_level)
    if context.obj is None:  # a caller may give the tools other parts
        context.obj = make_tool_settings(settings)


def make_tool_settings(settings: Settings) -> ServerToolSettings:
    """What the commands are given: the engine of this process, servers over HTTP."""

    def connect(url: str) -> ClickSegmenter:
        from backend.tools.remote_segmenter import connect

        return connect(settings, url)

    return ServerToolSettings(
        engine=settings.engine_config(),
        port=settings.port,
        connect=connect,
        server=settings,
    )


def main() -> None:
    """Entry point; what goes wrong on purpose ends in one line and exit status 1."""
    with ending_at_once():
        try:
            app()
        except M2N2Error as error:
            messages.print(f"m2n2: {error}", markup=False, highlight=False)
            sys.exit(1)
