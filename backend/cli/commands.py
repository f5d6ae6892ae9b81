"""The commands. Each imports what it needs when it runs, so that ``m2n2 --help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from backend.cli import cache, weights
from backend.tools.context import ServerToolSettings
from m2n2_engine.tools.benchmark import commands as benchmark_commands
from m2n2_engine.tools.context import (
    ConstantsOption,
    Point,
    PresetOption,
    ToolSettings,
    engine_config,
    output,
    parse_box,
    parse_point,
    parse_stroke,
    read_image,
    read_mask,
    to_clicks,
    working_on,
)
from m2n2_engine.tools.datasets import commands as datasets_commands
from m2n2_engine.tools.evaluate import commands as evaluate_commands
from m2n2_engine.types import Box, Click

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(weights.app, name="weights")
app.add_typer(cache.app, name="cache")
app.add_typer(benchmark_commands.app, name="benchmark")
app.add_typer(datasets_commands.app, name="datasets")
app.command()(evaluate_commands.evaluate)

ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")]
BackboneOption = Annotated[str | None, typer.Option(help="Network to use instead of the configured one.")]
GridOption = Annotated[int | None, typer.Option(min=2, help="Cells along each side of the attention grid.")]
PointsOption = Annotated[
    list[Point],
    typer.Option(
        "--point",
        metavar="X,Y",
        parser=parse_point,
        help="A pixel of the object; may be repeated. Not needed with a box.",
    ),
]
NegativesOption = Annotated[
    list[Point],
    typer.Option("--negative", metavar="X,Y", parser=parse_point, help="A pixel outside it; may be repeated."),
]
StrokesOption = Annotated[
    list[Any],
    typer.Option(
        "--stroke",
        metavar="'X,Y X,Y ...'",
        parser=parse_stroke,
        help="A path over the object, through these pixels; may be repeated.",
    ),
]
NegativeStrokesOption = Annotated[
    list[Any],
    typer.Option(
        "--negative-stroke",
        metavar="'X,Y X,Y ...'",
        parser=parse_stroke,
        help="A path outside it; may be repeated.",
    ),
]
BoxOption = Annotated[
    Box | None,
    typer.Option(
        "--box",
        metavar="LEFT,TOP,RIGHT,BOTTOM",
        parser=parse_box,
        help="A box around the object, in pixels. The mask stays in it; points correct the mask of the box.",
    ),
]


@app.command()
def segment(
    context: typer.Context,
    image: ImageArgument,
    target: Annotated[Path, typer.Option("--output", "-o", help="Mask to write: 255 object, 0 background.")],
    point: PointsOption = [],  # noqa: B006 (Typer reads the default; nothing changes it)
    negative: NegativesOption = [],  # noqa: B006 (as above)
    stroke: StrokesOption = [],  # noqa: B006 (as above)
    negative_stroke: NegativeStrokesOption = [],  # noqa: B006 (as above)
    box: BoxOption = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A mask that the points and strokes correct: an image file of the same size, white the object."
        ),
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Picture of the mask on the image to write.")] = None,
    backbone: BackboneOption = None,
    grid: GridOption = None,
    preset: PresetOption = None,
    constants: ConstantsOption = None,
) -> None:
    """Segment the object that points, strokes, a box and a mask describe."""
    from m2n2_engine.tools.drawing import draw_overlay, write_picture

    settings: ToolSettings = context.obj
    if not point and not stroke and box is None and mask is None:
        raise typer.BadParameter(
            "no object is named: give --point X,Y, --stroke 'X,Y X,Y ...', --box LEFT,TOP,RIGHT,BOTTOM or --mask FILE"
        )
    pixels = read_image(image)
    start = None if mask is None else read_mask(mask)
    clicks = to_clicks(point, negative, stroke, negative_stroke)
    with working_on("loading the network and segmenting"):
        engine = settings.load(engine_config(context, backbone, grid, preset, constants))
        result = engine.segment(pixels, clicks, box, start)
    write_picture(target, result.mask.astype(np.uint8) * 255)
    if overlay is not None:
        write_picture(overlay, draw_overlay(pixels, result.mask, clicks, box))
    share = result.mask.mean()
    status = engine.status()
    output.print(
        f"{target}: {int(result.mask.sum())} of {result.mask.size} pixels ({share:.1%}), score {result.score:.2f}, "
        f"prepared in {result.timings.prepare_seconds:.2f} s, clicks in {result.timings.clicks_seconds:.2f} s, "
        f"{status.backbone} ({status.backbone_reason}) on {status.device}, grid {status.grid}, "
        f"preset {status.preset}"
    )


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
