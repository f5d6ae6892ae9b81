"""What every command is given, and the few things that all of them do."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from m2n2_engine.config import EngineConfig
from m2n2_engine.errors import ConfigurationError, InvalidImage
from m2n2_engine.image_file import decode_image
from m2n2_engine.presets import PRESETS, parse_change
from m2n2_engine.types import Box, Click, ClickSegmenter, Image, Mask, Stroke

if TYPE_CHECKING:
    from m2n2_engine.engine import Engine

output = Console(soft_wrap=True)
messages = Console(stderr=True, soft_wrap=True)

_WHITE = 127.5
"""Mean of red, green and blue from which on a pixel of a mask's file is in the mask. Here."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""The beginning of a URL; two characters at least before the colon, for one is a drive of Windows."""

INTERRUPTED = 130
"""Exit status of a program that Ctrl+C ended, as shells have it."""


def load_engine(config: EngineConfig) -> Engine:
    """The engine of this process. Raises as ``m2n2_engine.engine.load_engine`` does."""
    # Imported here: torch takes seconds, which `m2n2 --help` need not.
    with without_collector():
        from m2n2_engine import engine

    return engine.load_engine(config)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Import without looking for cycles, and look through what was imported never again: modules stay, and to go
    through all that torch and numba are made of takes a sixth of the time of their import."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ToolSettings:
    """Settings of the commands. port: the server's, which ``doctor`` looks at. connect: URL of a running server ->
    something to click with. load: the configured engine -> something to prepare images and click with."""

    engine: EngineConfig
    port: int
    connect: Callable[[str], ClickSegmenter]
    load: Callable[[EngineConfig], Engine] = load_engine


def parse_constant(text: str) -> tuple[str, object]:
    """``NAME=VALUE`` -> a constant of the method; used by the options."""
    try:
        return parse_change(text)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


PresetOption = Annotated[
    str | None, typer.Option(help=f"Constants of the method: {', '.join(PRESETS)}, or auto: the backbone's own.")
]
BackboneOption = Annotated[str | None, typer.Option(help="Network to use instead of the configured one.")]
GridOption = Annotated[int | None, typer.Option(min=2, help="Cells along each side of the attention grid.")]
ConstantsOption = Annotated[
    list[Any] | None,
    typer.Option("--set", metavar="NAME=VALUE", parser=parse_constant, help="One constant changed; may be repeated."),
]


def engine_config(
    context: typer.Context,
    backbone: str | None = None,
    grid: int | None = None,
    preset: str | None = None,
    constants: Sequence[tuple[str, object]] | None = None,
) -> EngineConfig:
    """The configured engine, with what the command's options ask for instead."""
    settings: ToolSettings = context.obj
    config = settings.engine
    if backbone is not None:
        # The configured grid, id and revision belong to the configured backbone.
        config = config if backbone == config.backbone else dataclasses.replace(config, backbone=backbone, grid=None)
    if preset is not None:
        config = dataclasses.replace(config, preset=preset)
    if constants:
        config = dataclasses.replace(config, changes={**config.changes, **dict(constants)})
    return config if grid is None else dataclasses.replace(config, grid=grid)


def read_image(path: Path) -> Image:
    """Decode an image file; InvalidImage says which file and why."""
    try:
        return decode_image(path.read_bytes())
    except OSError as error:
        if address := _ADDRESS.match(str(path)):
            # A path of two slashes has lost one.
            whole = f"{address[1]}://{str(path)[address.end() :]}"
            raise InvalidImage(f"{whole} is an address: download it first, and name the file") from None
        raise InvalidImage(f"{path} cannot be read: {error.strerror}") from None
    except InvalidImage as error:
        raise InvalidImage(f"{path}: {error}") from None


def read_mask(path: Path) -> Mask:
    """The mask ``(H, W)`` of an image file, True where it is rather white; InvalidImage as ``read_image``."""
    mask: Mask = read_image(path).mean(axis=2) >= _WHITE
    return mask


class Point(NamedTuple):
    """A pixel, as the options give it."""

    x: float
    y: float


def parse_point(text: str) -> Point:
    """``X,Y`` -> pixels; used by the options."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no point: write X,Y in pixels, for example 120,64.5") from None
    return Point(x, y)


def parse_box(text: str) -> Box:
    """``LEFT,TOP,RIGHT,BOTTOM`` -> pixels; used by the options."""
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no box: write LEFT,TOP,RIGHT,BOTTOM in pixels, for example 40,30,200,180.5"
        ) from None
    return Box(left, top, right, bottom)


def parse_stroke(text: str) -> tuple[Point, ...]:
    """``X,Y X,Y ...`` -> the points of a path; used by the options."""
    points = tuple(parse_point(part) for part in text.split())
    if not points:
        raise typer.BadParameter("a stroke needs points: write X,Y X,Y ... in pixels, for example '120,64 150,70'")
    return points


def to_clicks(
    points: Sequence[Point],
    negatives: Sequence[Point],
    strokes: Sequence[tuple[Point, ...]] = (),
    negative_strokes: Sequence[tuple[Point, ...]] = (),
) -> list[Click | Stroke]:
    """Those on the object first, and of each sign the clicks before the strokes."""
    clicks: list[Click | Stroke] = []
    for positive, own_points, own_strokes in ((True, points, strokes), (False, negatives, negative_strokes)):
        clicks += [Click(*point, positive=positive) for point in own_points]
        clicks += [Stroke(stroke, positive) for stroke in own_strokes]
    return clicks


@contextlib.contextmanager
def working_on(description: str) -> Iterator[Progress]:
    """Show on standard error that something takes its time, and for how long; nothing where that is no terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as progress:
        progress.add_task(description, total=None)
        yield progress
