"""The command ``m2n2 propose``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from backend.cli.segment.forms import Form, FoundObject, check_ending, describe_coco, write_json
from backend.cli.segment.work import ImageFile, find_images, tell_problem
from m2n2_engine.errors import DatasetError, M2N2Error
from m2n2_engine.tools.context import (
    BackboneOption,
    ConstantsOption,
    GridOption,
    PresetOption,
    ToolSettings,
    engine_config,
    messages,
    output,
    read_image,
    working_on,
)
from m2n2_engine.types import Example, Picture, Proposal, Segmentation, Timings


def propose(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    examples: Annotated[
        Path, typer.Option(metavar="FILE", help="Accepted masks: COCO's JSON, with the images beside it.")
    ],
    target: Annotated[Path, typer.Option("--output", "-o", help="File to write: COCO's JSON, with a score each.")],
    score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score of an object; 0.1 unless given.")
    ] = None,
    backbone: BackboneOption = None,
    grid: GridOption = None,
    preset: PresetOption = None,
    constants: ConstantsOption = None,
) -> None:
    """Find objects like those that were accepted in other images; images of the examples are left out."""
    settings: ToolSettings = context.obj
    check_ending(target, Form.COCO)
    known = _read_examples(examples)
    files = find_images(images)
    with working_on("loading the network"):
        config = engine_config(context, backbone, grid, preset, constants)
        engine = settings.load(dataclasses.replace(config, defer_network=True))
        context.call_on_close(engine.flush)
    # Imported here: a command that is only asked for its options need not wait for it.
    from m2n2_engine.proposals.confidence import LEAST_SCORE

    find = functools.partial(engine.propose, examples=known, least_score=LEAST_SCORE if score is None else score)
    found, problems = _propose_all(find, files, {example.picture for example in known})
    write_json(target, describe_coco(found))
    of = len({each.image for each in found})
    trouble = f", {problems} could not be read" if problems else ""
    output.print(
        f"{target}: {len(found)} objects in {of} of {len(files)} images, by {len(known)} examples{trouble}",
        highlight=False,
    )
    if problems:
        raise typer.Exit(1)


def _read_examples(path: Path) -> list[Example]:
    from m2n2_engine.tools.datasets.labelled import read_labelled

    objects = read_labelled(path).objects
    if not objects:
        raise DatasetError(f"{path} holds no object: give a file with at least one accepted mask")
    pictures = {file: Picture.of(read_image(file)) for file in dict.fromkeys(each.path for each in objects)}
    return [Example(pictures[each.path], each.mask(), each.label) for each in objects]


def _propose_all(
    find: Callable[[Picture], Sequence[Proposal]], files: Sequence[ImageFile], accepted: Container[Picture]
) -> tuple[list[FoundObject], int]:
    """All that is found, and the number of images that could not be read; what is wrong with these is said."""
    found: list[FoundObject] = []
    problems = 0
    for file in track(files, "proposing", console=messages, transient=True, disable=not messages.is_terminal):
        try:
            picture = Picture.of(read_image(file.path))
            if picture not in accepted:
                found += [_describe(each, file, picture) for each in find(picture)]
        except M2N2Error as error:
            problems += 1
            tell_problem(file, error)
    return found, problems


def _describe(proposal: Proposal, file: ImageFile, picture: Picture) -> FoundObject:
    # The image is written nowhere, and many of them would fill the memory.
    pixels = picture.pixels[:0]
    mask = Segmentation(proposal.mask, proposal.score, Timings(0.0, 0.0))
    return FoundObject(file.name, pixels, proposal.clicks, proposal.box, None, proposal.label, mask)
