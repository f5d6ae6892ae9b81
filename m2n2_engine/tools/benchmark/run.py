"""``m2n2 benchmark``: all measurements in one process, then the tables, the JSON and what else was asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.config import Decision, EngineConfig
from m2n2_engine.engine import build_engine, set_up_threads
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.kernels.cpu.threads import thread_count
from m2n2_engine.presets import CONSENSUS
from m2n2_engine.session.session import reduced_size
from m2n2_engine.tools.benchmark import targets
from m2n2_engine.tools.benchmark.device_steps import compare_device_steps
from m2n2_engine.tools.benchmark.files import write_json
from m2n2_engine.tools.benchmark.images import Size, make_images
from m2n2_engine.tools.benchmark.machine import describe_run
from m2n2_engine.tools.benchmark.markdown import render_run, render_table, replace_section
from m2n2_engine.tools.benchmark.plots import draw_plots
from m2n2_engine.tools.benchmark.report import (
    BackboneReport,
    SizeReport,
    print_figures,
    render_tables,
    to_json,
)
from m2n2_engine.tools.benchmark.steps import Comparison, compare_click, compare_steps
from m2n2_engine.tools.benchmark.tiers import (
    ROTATING_IMAGES,
    Opening,
    Rotation,
    Rounds,
    measure_opening,
    measure_rotation,
    measure_tiers,
)
from m2n2_engine.tools.benchmark.verdicts import Target
from m2n2_engine.tools.context import messages, output
from m2n2_engine.tools.optional_packages import MATPLOTLIB
from m2n2_engine.types import Image, Picture

if TYPE_CHECKING:
    from m2n2_engine.kernels.cuda import CudaKernels

_MOST_DIRECT_PIXELS = 400_000
"""Of the working size. Above it the direct form of a click takes from half a minute to hours."""

_ACCELERATOR_SIZE, _ACCELERATOR_GRID = (1024, 1024), (128, 128)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure. sizes: (W, H) pixels. photograph: None draws one."""

    sizes: Sequence[Size]
    rounds: Rounds
    with_direct: bool
    photograph: Image | None


@dataclasses.dataclass(frozen=True)
class Destinations:
    """Files to write. plot: the picture lies beside the JSON. markdown: its section for this device and preset."""

    json: Path
    plot: bool
    markdown: Path | None


def run_benchmark(configs: Sequence[EngineConfig], options: Options, destinations: Destinations) -> None:
    """Measure each backbone and grid, print the tables and write the files."""
    if destinations.plot:
        MATPLOTLIB.require("a plot")  # before anything is measured for it
    write_json(destinations.json, {})  # a place that cannot be written is known before anything is measured
    set_up_threads(configs[0])
    reports = []
    for config in configs:
        with _progress() as progress:
            reports.append(_measure_backbone(load_backbone(config), config, options, progress))
    figures = to_json({**describe_run(thread_count()), **dataclasses.asdict(options.rounds)}, reports)
    print_figures(figures, output)
    write_json(destinations.json, figures)
    picture = destinations.json.with_suffix(".png")
    if destinations.plot:
        draw_plots(figures, picture)
    if destinations.markdown is not None:
        _write_markdown(destinations.markdown, figures, picture if destinations.plot else None)


def _measure_backbone(
    loaded: LoadedBackbone, config: EngineConfig, options: Options, progress: Progress
) -> BackboneReport:
    backbone = loaded.backbone
    on_cuda = backbone.device.startswith("cuda")
    task = progress.add_task("", total=None)
    name = f"{backbone.name}, grid {backbone.grid[0]}, {loaded.preset}"
    build_engine(loaded, config).warm_up()  # compiles the kernels of a click too, which no tier's filling runs
    # A second look takes a preparation's time once for each crop, and how many there are depends on the picture.
    one_look = dataclasses.replace(loaded, method=loaded.method.replace(zoom_largest=0.0))
    sizes = []
    for size in options.sizes:
        progress.update(task, description=f"{name}, {size[0]}x{size[1]}")
        sizes.append(_measure_size(one_look, size, config, options))
    images = make_images(options.photograph, options.sizes[0], ROTATING_IMAGES)
    pictures = [Picture.of(image) for image in images]
    progress.update(task, description=f"{name}, images in rotation")
    rotation = measure_rotation(one_look, pictures, config, options.rounds.repeats)
    openings = _measure_openings(one_look, pictures[:2], config)
    steps = []
    if options.with_direct:
        progress.update(task, description=f"{name}, steps beside their direct forms")
        steps = list(_compare_steps(loaded, images[0], config, options.rounds.repeats))
    return BackboneReport(
        backbone=backbone.name,
        grid=f"{backbone.grid[0]}x{backbone.grid[1]}",
        preset=loaded.preset,
        device=torch.cuda.get_device_name(backbone.device) if on_cuda else "cpu",
        sizes=sizes,
        steps=steps,
        rotation=rotation,
        targets=list(_list_targets(loaded, sizes, rotation, openings, steps)),
        peak_resident_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _compare_steps(loaded: LoadedBackbone, image: Image, config: EngineConfig, repeats: int) -> Iterator[Comparison]:
    kernels = choose_kernels(loaded.backbone.device)
    if isinstance(kernels, CpuKernels):
        return compare_steps(loaded, image, config, repeats)
    return compare_device_steps(cast("CudaKernels", kernels), loaded, image, repeats)


def _measure_size(loaded: LoadedBackbone, size: Size, config: EngineConfig, options: Options) -> SizeReport:
    images = make_images(options.photograph, size, 2)
    height, width = reduced_size(images[0].shape[:2], loaded.method.working_size_pixels)
    # The direct form is the paper's.
    is_comparable = loaded.method.decision is Decision.JOINT and height * width <= _MOST_DIRECT_PIXELS
    with_direct = options.with_direct and is_comparable
    with tempfile.TemporaryDirectory() as folder:
        tiers = measure_tiers(loaded, [Picture.of(image) for image in images], config, options.rounds, Path(folder))
    return SizeReport(size, tiers, compare_click(loaded, images[0], config, options.rounds.repeats, with_direct))


def _measure_openings(loaded: LoadedBackbone, images: Sequence[Picture], config: EngineConfig) -> dict[int, Opening]:
    """By the Markov-maps of a first click: with its own alone, and with those of its vote where it has one."""
    openings = {}
    for places in sorted({0, loaded.method.vote_places}):
        method = loaded.method.replace(vote_places=places)
        openings[1 + places] = measure_opening(dataclasses.replace(loaded, method=method), images, config)
    return openings


def _list_targets(
    loaded: LoadedBackbone,
    sizes: Sequence[SizeReport],
    rotation: Rotation,
    openings: Mapping[int, Opening],
    steps: Sequence[Comparison],
) -> Iterator[Target]:
    """Those of the tiers at the first size. Ratios to a processor's network are promised for processors alone."""
    backbone = loaded.backbone
    on_cuda = backbone.device.startswith("cuda")
    if not on_cuda:
        yield targets.compare_click(sizes[0].click.ratio)
        yield from targets.compare_tiers(sizes[0].tiers)
        yield targets.compare_rotation(rotation)
        yield targets.compare_precision(steps)
    for maps, opening in openings.items():
        yield targets.compare_opening(opening, maps)
    with tempfile.TemporaryDirectory() as folder:
        yield from targets.compare_bytes(Path(folder))
    is_large = on_cuda and backbone.grid == _ACCELERATOR_GRID
    at_size = next((size.tiers for size in sizes if is_large and size.size == _ACCELERATOR_SIZE), None)
    yield from targets.bound_large_network(at_size)
    is_small = on_cuda and backbone.name.startswith("dinov2") and loaded.preset == CONSENSUS
    yield targets.bound_small_network(sizes[0].tiers if is_small else None)


def _write_markdown(path: Path, figures: dict[str, Any], picture: Path | None) -> None:
    device = figures["backbones"][0]["device"]
    preset = figures["backbones"][0]["preset"]
    parts = [f"## Engine, {device}, preset {preset}", render_run(figures["run"])]
    for title, columns, rows in render_tables(figures):
        parts += [f"### {title}", render_table(columns, rows)]
    if picture is not None:
        parts.append(f"![What a click takes]({os.path.relpath(picture, path.parent)})")
    replace_section(path, f"engine {device} {preset}", "\n\n".join(parts))


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as progress:
        yield progress
