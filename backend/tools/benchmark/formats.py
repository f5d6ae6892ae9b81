"""``m2n2 benchmark formats``: what an image file costs to read, and a mask to write, by format.

Imports what it needs when it runs.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.tools.benchmark.tables import print_table
from m2n2_engine.tools.benchmark.commands import MarkdownOption
from m2n2_engine.tools.context import output, working_on

if TYPE_CHECKING:
    from m2n2_engine.types import Image, Mask

_Form = tuple[str, Callable[[], object], int]
"""What is timed, and the bytes that it reads or writes."""

_COLUMNS = ["what", "median, s", "longest, s", "bytes"]

_FILES = {"JPEG": {"quality": 90}, "PNG": {}, "WebP": {"quality": 90}}
"""Formats, and how Pillow writes them: JPEG and WebP as cameras and pages do, with a loss."""

_DECODE_SECONDS = 60.0
"""That a helper may take for one image. Here: the figures are wanted of a slow machine too."""


@dataclasses.dataclass(frozen=True, slots=True)
class FormatFigures:
    """Seconds to read or to write one form, and its bytes."""

    what: str
    median: float
    longest: float
    nbytes: int


def formats(
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the image and of the mask.")] = "1000x1000",
    repeats: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 9,
    json_file: Annotated[Path, typer.Option("--json", help="File to write the figures to.")] = Path(
        "out/benchmark-formats.json"
    ),
    markdown: MarkdownOption = None,
) -> None:
    """Time reading an image and writing a mask, by format."""
    from m2n2_engine.tools.benchmark.files import write_json
    from m2n2_engine.tools.benchmark.images import draw_synthetic_image, parse_size
    from m2n2_engine.tools.benchmark.machine import describe_run
    from m2n2_engine.tools.benchmark.markdown import render_run, render_table, replace_section

    width, height = parse_size(size)
    write_json(json_file, {})  # a place that cannot be written is known before anything is measured
    with working_on("files are read and masks are written"):
        found = [
            *measure_reading(draw_synthetic_image(width, height), repeats),
            *measure_writing((height, width), repeats),
        ]
    rows = [[each.what, f"{each.median:.4f}", f"{each.longest:.4f}", str(each.nbytes)] for each in found]
    run = {**describe_run(None), "repeats": repeats, "size": f"{width}x{height}"}
    print_table(_COLUMNS, rows)
    write_json(json_file, {"run": run, "formats": [dataclasses.asdict(each) for each in found]})
    if markdown is not None:
        table = render_table(_COLUMNS, rows)
        replace_section(markdown, "formats", f"## Files and masks\n\n{render_run(run)}\n\n{table}")
    output.print(f"{json_file} has these figures.", markup=False, highlight=False)


def measure_reading(image: Image, repeats: int) -> list[FormatFigures]:
    """Each format as the engine's tools decode it, and as the server does, whose helper process sends the pixels."""
    from backend.images.decoder import Decoder
    from backend.images.pixel_budget import PixelBudget
    from m2n2_engine.image_file import decode_image

    pixels = image.shape[0] * image.shape[1]
    decoder = Decoder(pixels, _DECODE_SECONDS, 1, PixelBudget(pixels))
    forms: list[_Form] = []
    for name in _FILES:
        data = write_image(image, name)
        forms.append((f"decode {name}, in this process", functools.partial(decode_image, data), len(data)))
        forms.append((f"decode {name}, as the server does", functools.partial(decoder.decode, data), len(data)))
    return _time_in_turn(forms, repeats)


def write_image(image: Image, name: str) -> bytes:
    """A file of RGB uint8 ``(H, W, 3)``. name: of its format, as in ``_FILES``."""
    from PIL import Image as PillowImage

    file = io.BytesIO()
    PillowImage.fromarray(image).save(file, name, **_FILES[name])
    return file.getvalue()


def measure_writing(shape: tuple[int, int], repeats: int) -> list[FormatFigures]:
    """Each form of one mask, by what writes the answers. shape: ``(H, W)`` pixels."""
    from backend.label_studio import brush_rle
    from backend.label_studio.shapes import bitmask
    from backend.tools.benchmark.cvat import draw_mask
    from m2n2_engine.tools.datasets.coco import describe_mask

    mask: Mask = draw_mask(shape)
    return _time_in_turn(
        [
            ("encode brush RLE, for Label Studio", lambda: brush_rle.encode(mask), len(brush_rle.encode(mask))),
            ("encode PNG in a data URL, for Label Studio", lambda: bitmask.encode(mask), len(bitmask.encode(mask))),
            ("encode COCO's RLE, for files", lambda: describe_mask(mask), len(json.dumps(describe_mask(mask)))),
        ],
        repeats,
    )


def _time_in_turn(forms: Sequence[_Form], repeats: int) -> list[FormatFigures]:
    """All forms in each round, so that they meet the same machine; a first round, which loads codecs, is not timed."""
    for _, form, _ in forms:
        form()
    rounds = [[_time(form) for _, form, _ in forms] for _ in range(repeats)]
    return [
        FormatFigures(what, statistics.median(seconds), max(seconds), nbytes)
        for (what, _, nbytes), seconds in zip(forms, zip(*rounds, strict=True), strict=True)
    ]


def _time(form: Callable[[], object]) -> float:
    started = time.perf_counter()
    form()
    return time.perf_counter() - started
