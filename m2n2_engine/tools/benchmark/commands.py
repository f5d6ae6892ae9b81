"""``m2n2 benchmark`` and its commands. Imports what it needs when it runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from m2n2_engine.tools.context import ConstantsOption, PresetOption, engine_config, read_image

app = typer.Typer(invoke_without_command=True, help="Measure what images and clicks cost here.")

MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", help="Markdown file whose section of these figures is written anew.")
]


@app.callback()
def benchmark(
    context: typer.Context,
    image: Annotated[Path | None, typer.Option(help="Photograph to measure; without it one is drawn.")] = None,
    sizes: Annotated[str, typer.Option(metavar="WxH,...", help="Sizes that it is brought to.")] = (
        "481x321,640x480,1632x1224,4000x3000"
    ),
    backbone: Annotated[list[str] | None, typer.Option(help="Network; may be repeated.")] = None,
    grid: Annotated[list[int] | None, typer.Option(min=2, help="Cells along each side; may be repeated.")] = None,
    preset: PresetOption = None,
    constants: ConstantsOption = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 3,
    clicks: Annotated[int, typer.Option(min=2, help="Clicks of the object that is refined.")] = 20,
    direct: Annotated[bool, typer.Option(help="Also time the direct, textbook form of every step.")] = True,
    json_file: Annotated[Path, typer.Option("--json", help="File to write the figures to.")] = Path(
        "out/benchmark.json"
    ),
    plot: Annotated[bool, typer.Option("--plot", help="Draw a picture beside the JSON; needs matplotlib.")] = False,
    markdown: MarkdownOption = None,
) -> None:
    """Time preparation, every tier of the attention cache and clicks, and compare them to the targets."""
    if context.invoked_subcommand is not None:
        return
    from m2n2_engine.tools.benchmark.images import parse_sizes
    from m2n2_engine.tools.benchmark.run import Destinations, Options, run_benchmark
    from m2n2_engine.tools.benchmark.tiers import Rounds

    names: list[str | None] = list(backbone) if backbone else [None]
    grids: list[int | None] = list(grid) if grid else [None]
    pairs = itertools.product(names, grids)
    configs = [engine_config(context, name, cells, preset, constants) for name, cells in pairs]
    photograph = None if image is None else read_image(image)
    options = Options(parse_sizes(sizes), Rounds(repeats, clicks), with_direct=direct, photograph=photograph)
    run_benchmark(configs, options, Destinations(json_file, plot, markdown))
