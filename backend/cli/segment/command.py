"""The command ``m2n2 segment``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from backend.cli.segment.forms import Form, FoundObject, describe_coco, write_json, write_object
from backend.cli.segment.prompt_file import read_prompts
from backend.cli.segment.work import (
    ImageFile,
    Task,
    check_target,
    find_images,
    match_prompts,
    name_targets,
    tell_problem,
)
from m2n2_engine.errors import ConfigurationError, M2N2Error
from m2n2_engine.tools.context import (
    BackboneOption,
    ConstantsOption,
    GridOption,
    Point,
    PresetOption,
    ToolSettings,
    engine_config,
    messages,
    output,
    parse_box,
    parse_point,
    parse_stroke,
    read_image,
    read_mask,
    to_clicks,
    working_on,
)
from m2n2_engine.types import Box, Image, Mask

if TYPE_CHECKING:
    from m2n2_engine.engine import Engine

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


def segment(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    target: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: 255 object, 0 background. Of several objects, a folder."),
    ],
    form: Annotated[Form, typer.Option("--as", help="What to write of each object. COCO's is one file for all.")] = (
        Form.MASK
    ),
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Points and boxes of many objects: COCO or other JSON, or a table (CSV)."),
    ] = None,
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
    """Segment the objects that points, strokes, a box, a mask or a file of prompts describe."""
    settings: ToolSettings = context.obj
    is_named = bool(point or stroke or box is not None or mask is not None)
    _check_named(has_file=prompts is not None, is_named=is_named, has_any=is_named or bool(negative or negative_stroke))
    files = find_images(images)
    is_many = prompts is not None or len(files) > 1 or any(path.is_dir() for path in images)
    if is_many and overlay is not None:
        raise typer.BadParameter("--overlay is of one object: give --as overlay for several")
    check_target(target, form, is_many and form is not Form.COCO)
    if prompts is not None:
        tasks = match_prompts(read_prompts(prompts), files)
    else:
        clicks = to_clicks(point, negative, stroke, negative_stroke)
        tasks = [Task(file, clicks, box) for file in files]
    tasks = _name(tasks, target, form, is_many)
    start = None if mask is None else read_mask(mask)
    pixels = None if is_many else read_image(tasks[0].image.path)
    with working_on("loading the network" if is_many else "loading the network and segmenting"):
        config = engine_config(context, backbone, grid, preset, constants)
        engine = settings.load(dataclasses.replace(config, defer_network=True))
        context.call_on_close(engine.flush)
        # One object is segmented while this is shown: there is no bar to draw for it.
        only = None if pixels is None else _segment(engine, tasks[0], pixels, start)
    if only is None:
        _segment_many(engine, tasks, start, target, form)
        return
    write_object(target, form, only)
    if overlay is not None:
        write_object(overlay, Form.OVERLAY, only)
    output.print(_describe(target, only, engine), highlight=False)


def _check_named(*, has_file: bool, is_named: bool, has_any: bool) -> None:
    """Raise BadParameter unless objects are named in one way: by a file of prompts, or by options. has_any: options,
    also those that name no object."""
    if has_file and has_any:
        raise typer.BadParameter("--prompts names the objects: leave --point, --stroke, --box and --mask away")
    if not has_file and not is_named:
        raise typer.BadParameter(
            "no object is named: give --point X,Y, --stroke 'X,Y X,Y ...', --box LEFT,TOP,RIGHT,BOTTOM, --mask FILE or "
            "--prompts FILE"
        )


def _name(tasks: list[Task], target: Path, form: Form, is_many: bool) -> list[Task]:
    """Each task with its own file; all of COCO's go into one."""
    if form is Form.COCO or not is_many:
        return tasks
    return name_targets(tasks, target, form)


def _segment(engine: Engine, task: Task, pixels: Image, start: Mask | None) -> FoundObject:
    result = engine.segment(pixels, task.clicks, task.box, start)
    return FoundObject(task.image.name, pixels, task.clicks, task.box, task.name, task.label, result)


def _segment_many(engine: Engine, tasks: Sequence[Task], start: Mask | None, target: Path, form: Form) -> None:
    """Write every object that can be; what goes wrong with one is said, and leaves the others."""
    found: list[FoundObject] = []
    written = failures = 0
    last: tuple[ImageFile, Image] | None = None
    for task in track(tasks, "segmenting", console=messages, transient=True, disable=not messages.is_terminal):
        try:
            if last is None or last[0] != task.image:  # the objects of an image follow each other
                last = task.image, read_image(task.image.path)
            each = _segment(engine, task, last[1], start)
            if task.target is not None:
                _make_folder(task.target.parent)
                write_object(task.target, form, each)
            else:
                # The image is written nowhere, and many of them would fill the memory.
                found.append(dataclasses.replace(each, pixels=each.pixels[:0]))
            written += 1
        except M2N2Error as error:
            failures += 1
            tell_problem(task.image, error)
    if form is Form.COCO:
        write_json(target, describe_coco(found))
    images = len({task.image for task in tasks})
    problems = f", {failures} could not be segmented" if failures else ""
    output.print(f"{target}: {written} objects of {images} images, as {form}{problems}", highlight=False)
    if failures:
        raise typer.Exit(1)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be made: {error.strerror}") from None


def _describe(target: Path, found: FoundObject, engine: Engine) -> str:
    """One line: how large the mask is, how long it took, and what made it."""
    result, status = found.result, engine.status()
    return (
        f"{target}: {int(result.mask.sum())} of {result.mask.size} pixels ({result.mask.mean():.1%}), "
        f"score {result.score:.2f}, "
        f"prepared in {result.timings.prepare_seconds:.2f} s, clicks in {result.timings.clicks_seconds:.2f} s, "
        f"{status.backbone} ({status.backbone_reason}) on {status.device}, grid {status.grid}, "
        f"preset {status.preset}"
    )
