"""``m2n2 benchmark``: every step beside its direct form, in one process and on one real attention."""

from __future__ import annotations

import dataclasses
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from m2n2_engine.aggregator import BackboneAggregator
from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.engine import build_engine, set_up_threads
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.ops.attention import build_attention
from m2n2_engine.ops.compiled import thread_count
from m2n2_engine.ops.flood_fill import flood_fill, normalise
from m2n2_engine.ops.markov_map import build_coarse_maps, build_start_state
from m2n2_engine.ops.segment import rank_map
from m2n2_engine.ops.transition import balance, build_transition, temper
from m2n2_engine.ops.upsample import build_upsampler
from m2n2_engine.ops.working_size import reduce_image
from m2n2_engine.session import Session
from m2n2_engine.tools import direct as direct_forms
from m2n2_engine.tools.context import messages, output
from m2n2_engine.types import Click, Image

_SEED = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """Medians in seconds; direct_seconds is None where a step has no other form or was not asked for."""

    step: str
    seconds: float
    direct_seconds: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster than the direct form."""
        return None if self.direct_seconds is None else self.direct_seconds / self.seconds


@dataclasses.dataclass(frozen=True, slots=True)
class _Measurement:
    """One row to be. direct is run once a repeat, just after ``fast``, so that both meet the same machine."""

    step: str
    fast: Callable[[], object]
    direct: Callable[[], object] | None = None


def run_benchmark(config: EngineConfig, image: Image, repeats: int, with_direct: bool, json_file: Path | None) -> None:
    """Print the table and write the figures. image: RGB uint8 ``(H, W, 3)``."""
    set_up_threads(config)
    loaded = load_backbone(config)
    measurements = [*_measure_steps(loaded, image, config.method), *_measure_whole(loaded, image, config)]
    rows: list[Row] = []
    with _progress() as progress:
        task = progress.add_task("measuring", total=len(measurements))
        for measurement in measurements:
            progress.update(task, description=measurement.step)
            rows.append(_measure(measurement, repeats, with_direct))
            progress.advance(task)
    report = {**_describe_machine(loaded), **_describe_image(image, config.method), "repeats": repeats}
    report["peak_resident_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _print_report(report, rows)
    if json_file is not None:
        report["rows"] = [{**dataclasses.asdict(row), "ratio": row.ratio} for row in rows]
        _write_figures(json_file, report)


def _write_figures(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _measure_steps(loaded: LoadedBackbone, image: Image, method: MethodConfig) -> list[_Measurement]:
    """The steps in their order; each works on what the one before it makes."""
    factors = loaded.backbone.extract(image)
    with torch.no_grad():
        attention = build_attention(factors)
    tempered = temper(attention.clone(), method.temperature)
    transition = build_transition(attention.clone(), method)
    working = reduce_image(image, method.working_size_pixels)
    height, width = working.shape[:2]
    start = build_start_state((width / 2, height / 2), (height, width), factors.grid)[None]
    coarse = build_coarse_maps(transition, start, method)[0]
    upsampler = build_upsampler(working, factors.grid, method)
    upsampled = normalise(upsampler.apply(coarse))
    pixel = (width // 2, height // 2)
    filled = normalise(flood_fill(upsampled, pixel))

    def first_map() -> None:
        build_upsampler(working, factors.grid, method).apply(coarse)

    def direct_map() -> None:
        direct_forms.upsample(coarse, working, method)

    return [
        _Measurement("1 network", lambda: loaded.backbone.extract(image)),
        _Measurement("1 attention", lambda: build_attention(factors), lambda: direct_forms.attention(factors)),
        _Measurement(
            "2 temperature",
            lambda: temper(attention.clone(), method.temperature),
            lambda: direct_forms.temper(attention, method.temperature),
        ),
        _Measurement(
            "2 balancing",
            lambda: balance(tempered, method.balancing_rounds, method.balancing_tolerance),
            lambda: direct_forms.balance(tempered, method.balancing_rounds),
        ),
        _Measurement("3 coarse map", lambda: build_coarse_maps(transition, start, method)),
        _Measurement("4 upsampling, first map of an image", first_map, direct_map),
        _Measurement("4 upsampling, each further map", lambda: upsampler.apply(coarse), direct_map),
        _Measurement(
            "5 flood fill", lambda: flood_fill(upsampled, pixel), lambda: direct_forms.flood_fill(upsampled, pixel)
        ),
        _Measurement(
            "6 ranks", lambda: rank_map(filled, pixel, method), lambda: direct_forms.border_means(filled, method)
        ),
    ]


def _measure_whole(loaded: LoadedBackbone, image: Image, config: EngineConfig) -> list[_Measurement]:
    """An image's preparation, and a click at a place never clicked before, from end to end."""
    method, backbone = config.method, loaded.backbone
    engine = build_engine(loaded, config)
    engine.segment(image, [Click(0, 0)])
    working = reduce_image(image, method.working_size_pixels)
    height, width = working.shape[:2]
    rng = np.random.default_rng(_SEED)
    transition = build_transition(
        BackboneAggregator(backbone).extract_attention(image).flatten(2).flatten(0, 1), method
    )

    def prepare() -> None:
        attention = BackboneAggregator(backbone).extract_attention(image)
        Session(image, attention, method, config.click_maps_bytes)

    def prepare_directly() -> None:
        attention = direct_forms.attention(backbone.extract(image))
        direct_forms.balance(direct_forms.temper(attention, method.temperature), method.balancing_rounds)

    def click() -> None:
        engine.segment(image, [Click(rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0]))])

    def click_directly() -> None:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        start = build_start_state((x, y), (height, width), backbone.grid)[None]
        coarse = build_coarse_maps(transition, start, method)[0]
        values = direct_forms.markov_map(coarse, working, (int(x), int(y)), method)
        direct_forms.border_means(values, method)

    return [
        _Measurement("an image's preparation", prepare, prepare_directly),
        _Measurement("a new click", click, click_directly),
    ]


def _measure(measurement: _Measurement, repeats: int, with_direct: bool) -> Row:
    forms = [measurement.fast]
    if with_direct and measurement.direct is not None:
        forms.append(measurement.direct)
    for form in forms:
        form()  # not timed: kernels are compiled, memory is touched, caches are filled
    times: list[list[float]] = [[] for _ in forms]
    for _ in range(repeats):
        for form, taken in zip(forms, times, strict=True):
            started = time.perf_counter()
            form()
            _wait_for_device()
            taken.append(time.perf_counter() - started)
    medians = [statistics.median(taken) for taken in times]
    return Row(measurement.step, *medians)


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal)


def _describe_machine(loaded: LoadedBackbone) -> dict[str, Any]:
    backbone = loaded.backbone
    device = backbone.device
    name = _processor_name() if device == "cpu" else torch.cuda.get_device_name(device)
    return {
        "device": f"{device}: {name}",
        "threads": thread_count(),
        "torch": torch.__version__,
        "backbone": backbone.name,
        "grid": f"{backbone.grid[0]}x{backbone.grid[1]}",
    }


def _describe_image(image: Image, method: MethodConfig) -> dict[str, Any]:
    working = reduce_image(image, method.working_size_pixels)
    return {
        "image": f"{image.shape[1]}x{image.shape[0]}",
        "working_size": f"{working.shape[1]}x{working.shape[0]}",
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _print_report(report: dict[str, Any], rows: list[Row]) -> None:
    output.print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.items()), highlight=False)
    table = Table(box=None)
    table.add_column("step")
    for column in ("direct, s", "this engine, s", "times faster"):
        table.add_column(column, justify="right")
    for row in rows:
        direct = "" if row.direct_seconds is None else f"{row.direct_seconds:.4f}"
        table.add_row(row.step, direct, f"{row.seconds:.4f}", "" if row.ratio is None else f"{row.ratio:.1f}")
    output.print(table)


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` -> (W, H) pixels."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise ConfigurationError(f"{text!r} is no size: write WxH in pixels, for example 640x480")
    return width, height


def draw_synthetic_image(width: int, height: int) -> Image:
    """A seeded image of overlapping soft-edged discs on a gradient with grain: edges, flat parts and texture."""
    rng = np.random.default_rng(_SEED)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    image = np.dstack([80 + 90 * across, 100 + 60 * down, 150 - 80 * across]).astype(np.float32)
    for _ in range(12):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        radius = int(rng.uniform(0.05, 0.25) * min(width, height)) + 1
        colour = [float(value) for value in rng.uniform(0, 255, 3)]
        cv2.circle(image, centre, radius, colour, -1, cv2.LINE_AA)
    image += rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
