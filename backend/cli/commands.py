"""The commands. Each imports what it needs when it runs, so that ``m2n2 --help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli import cache, weights
from backend.cli.propose import propose
from backend.cli.segment.command import segment
from backend.tools.context import ServerToolSettings
from m2n2_engine.tools.benchmark import commands as benchmark_commands
from m2n2_engine.tools.context import (
    BackboneOption,
    ConstantsOption,
    GridOption,
    Point,
    PresetOption,
    ToolSettings,
    engine_config,
    output,
    parse_point,
    read_image,
    working_on,
)
from m2n2_engine.tools.datasets import commands as datasets_commands
from m2n2_engine.tools.evaluate import commands as evaluate_commands
from m2n2_engine.types import Click

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(weights.app, name="weights")
app.add_typer(cache.app, name="cache")
app.add_typer(benchmark_commands.app, name="benchmark")
app.add_typer(datasets_commands.app, name="datasets")
app.command()(evaluate_commands.evaluate)
app.command()(segment)
app.command()(propose)

ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")]


@app.command()
def markov_map(
    context: typer.Context,
    image: ImageArgument,
    point: Annotated[Point, typer.Option("--point", metavar="X,Y", parser=parse_point, help="Where the walk starts.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: the image, the map and its scale.")],
    backbone: BackboneOption = None,
    grid: GridOption = None,
    preset: PresetOption = None,
    constants: ConstantsOption = None,
) -> None:
    """Draw how far every pixel is from a point, in steps of the Markov chain, beside the image."""
    from m2n2_engine.backbones import load_backbone
    from m2n2_engine.paper_api import BackboneAggregator, adjust_temperature_and_ipf, create_markov_map_from_point
    from m2n2_engine.prompt import check_clicks
    from m2n2_engine.session.session import reduce_image
    from m2n2_engine.tools.drawing import write_picture
    from m2n2_engine.tools.map_figure import draw_map_figure

    pixels, config = read_image(image), engine_config(context, backbone, grid, preset, constants)
    check_clicks([Click(*point)], pixels.shape[1], pixels.shape[0])
    with working_on("loading the network and walking"):
        loaded = load_backbone(config)
        method = loaded.method.constants()
        reduced = reduce_image(pixels, loaded.method.working_size_pixels)
        start = point.x * reduced.shape[1] / pixels.shape[1], point.y * reduced.shape[0] / pixels.shape[0]
        attention = BackboneAggregator(loaded.backbone).extract_attention(pixels)
        transition = adjust_temperature_and_ipf(attention, **method)
        values = create_markov_map_from_point(reduced, transition, start, **method).cpu().numpy()
    write_picture(target, draw_map_figure(reduced, values, start))
    output.print(f"{target}: 0 to {values.max():.1f} steps")


@app.command()
def demo(
    context: typer.Context,
    image: ImageArgument,
    target: Annotated[
        Path | None,
        typer.Option("--output", "-o", exists=True, file_okay=False, help="Folder to save to; default: the image's."),
    ] = None,
    backbone: BackboneOption = None,
    grid: GridOption = None,
    preset: PresetOption = None,
    constants: ConstantsOption = None,
) -> None:
    """Click on an object in a window and watch its mask; the window names the keys."""
    from m2n2_engine.tools.demo import require_display, run_demo

    settings: ToolSettings = context.obj
    pixels = read_image(image)
    require_display()
    with working_on("loading the network"):
        engine = settings.load(engine_config(context, backbone, grid, preset, constants))
    run_demo(pixels, engine, (target or image.parent) / image.stem, lambda line: output.print(line, markup=False))


@app.command()
def doctor(context: typer.Context) -> None:
    """Check everything the server needs; each line is ok or says what to do."""
    from backend.cli.doctor import run_doctor

    settings: ServerToolSettings = context.obj
    if not run_doctor(settings):
        raise typer.Exit(1)
