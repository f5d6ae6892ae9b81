"""``m2n2 benchmark published``: figures of earlier runs beside those that others have published of their tools.

Imports what it needs when it runs. Nothing of ours is written here: it is read from the files of ``--json``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.tools.benchmark.tables import print_table
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.benchmark.commands import MarkdownOption
from m2n2_engine.tools.context import output

_COLUMNS = ["what", "device", "image", "encode, s", "click, s", "whole answer, s", "source"]

_WARNING = (
    "No other tool was measured on a device of ours, so no ratio of two rows says which one is faster. A row says what "
    "to expect of that tool on that device. Encoding is once an image, and a click is each further answer on it. A "
    "whole answer is what a client waits for, with the way there and back and all who ask at once. Ours are medians."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What one tool takes on one device, in seconds as they are shown; empty where it was not told.

    image: width and height in pixels, or what else is known of it. source: who says so, and where.
    """

    what: str
    device: str
    image: str
    encode: str
    click: str
    answer: str
    source: str


PUBLISHED = (
    Row(
        "SAM, ViT-H",
        "one GPU, not named",
        "not told",
        "0.452",
        "0.004",
        "",
        "github.com/ChaoningZhang/MobileSAM, README",
    ),
    Row(
        "MobileSAM",
        "one GPU, not named",
        "not told",
        "0.008",
        "0.004",
        "",
        "github.com/ChaoningZhang/MobileSAM, README",
    ),
    Row(
        "MobileSAM",
        "processor, not named",
        "640x480",
        "0.860",
        "0.085",
        "",
        "github.com/ChaoningZhang/MobileSAM/issues/61, one call",
    ),
    Row(
        *("SAM 2.1 B+, ONNX in Triton", "NVIDIA A100", "1024x1024", "about 0.3", "about 0.015", ""),
        "github.com/JaneliaSciComp/triton-sam2, README",
    ),
    Row(
        *("SAM 3, prompt of words", "NVIDIA H100 80 GB", "not told", "", "", "0.088 (mean)"),
        "docs.prodia.com/job-types/inference-sam3-segment-v1",
    ),
    Row(
        *("SAM 3 as a service, clicks", "shared GPUs, not named", "not told", "", "", "0.243 (p90 0.943, p99 2.65)"),
        "github.com/roboflow/inference/pull/2472, June 2026",
    ),
)
"""Read at these places in November 2026; nothing of it was measured here."""


def published(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What --json of earlier runs wrote.")],
    sizes: Annotated[str, typer.Option(metavar="WxH,...", help="Sizes that are taken of a file with several.")] = (
        "640x480,1024x1024"
    ),
    markdown: MarkdownOption = None,
) -> None:
    """Set figures of earlier runs beside those that others have published, each with its device and source."""
    from m2n2_engine.tools.benchmark.images import parse_sizes
    from m2n2_engine.tools.benchmark.markdown import render_table, replace_section

    wanted = [f"{width}x{height}" for width, height in parse_sizes(sizes)]
    ours = [row for path in files for row in read_rows(path, wanted)]
    rows = [list(dataclasses.astuple(row)) for row in (*ours, *PUBLISHED)]
    print_table(_COLUMNS, rows)
    output.print(_WARNING)
    if markdown is not None:
        text = f"## Beside published figures\n\n{_WARNING}\n\n{render_table(_COLUMNS, rows)}"
        replace_section(markdown, "published", text)


def read_rows(path: Path, sizes: Sequence[str]) -> list[Row]:
    """The rows of a file that ``m2n2 benchmark`` or ``m2n2 benchmark serve`` wrote.

    sizes: ``WxH`` that are taken of an engine's; a server's file has one. Raises ConfigurationError where the file
    cannot be read, is of neither kind, or has none of these sizes.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        rows = list(_read_engine(path, figures, sizes) if "backbones" in figures else _read_server(path, figures))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path} has no figures of m2n2 benchmark or m2n2 benchmark serve: name a file that their --json wrote"
        ) from None
    if not rows:
        there = ", ".join(size["size"] for backbone in figures["backbones"] for size in backbone["sizes"])
        raise ConfigurationError(f"{path} has none of the sizes {', '.join(sizes)}, but {there}: name them by --sizes")
    return rows


def _read_engine(path: Path, figures: Mapping[str, Any], sizes: Sequence[str]) -> Iterator[Row]:
    run = figures["run"]
    for backbone in figures["backbones"]:
        what = f"M2N2, {backbone['backbone']}, grid {backbone['grid']}, {backbone['preset']}"
        device = backbone["device"]
        if device == "cpu":
            device = f"{run['processor']}, {run['threads']} threads"
        for size in backbone["sizes"]:
            if size["size"] in sizes:
                encode, click = (f"{size['seconds'][name]['median']:.3f}" for name in ("preparation", "next click"))
                yield Row(what, device, size["size"], encode, click, "", _name_source(path, run))


def _read_server(path: Path, figures: Mapping[str, Any]) -> Iterator[Row]:
    run, found = figures["run"], figures["seconds"]["a click"]
    # Files of before 28 November 2026 have no p99.
    tail = {name: found[name] for name in ("p95", "p99") if name in found}
    told = ", ".join(f"{name} {seconds:.3f}" for name, seconds in tail.items())
    device = run["device"] if run["device"] != "cpu" else f"{run['threads']} threads"
    yield Row(
        what=f"M2N2 as a server, {run['backbone']}, {run['annotators']} annotators",
        device=f"{run['processor']}, {device}",
        image=run["size"],
        encode="",
        click="",
        answer=f"{found['median']:.3f} ({told})",
        source=_name_source(path, run),
    )


def _name_source(path: Path, run: Mapping[str, Any]) -> str:
    return f"{path.name}, {run['date']}"
