"""A picture of a dataset's figures: mean IoU over clicks, clicks needed, and what a click takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.evaluate.measures.metrics import THRESHOLDS, count_clicks, is_failure, score
from m2n2_engine.tools.evaluate.options import Band
from m2n2_engine.tools.evaluate.refinement import Refinement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = (15.0, 4.4)
_DOTS_PER_INCH = 120
_NOC_PERCENT = 90
"""IoU of the histogram."""

Bands = Mapping[Band, Sequence[Refinement]]


def draw_plots(title: str, bands: Bands, path: Path) -> None:
    """Write a PNG. bands: at least one, with at least one refinement each. Raises ConfigurationError where it cannot be
    written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    all_axes = figure.subplots(1, 3)
    for axes, draw in zip(all_axes, (_draw_ious, _draw_histogram, _draw_latency), strict=True):
        draw(axes, bands)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize="small")
    figure.suptitle(title)
    save_picture(figure, path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. Raises ConfigurationError where it cannot be written."""
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _draw_ious(axes: Axes, bands: Bands) -> None:
    for percent in THRESHOLDS:
        axes.axhline(percent / 100, color="grey", linewidth=1, linestyle=":")
    for band, refinements in bands.items():
        means = score([found.ious for found in refinements]).mean_ious
        numbers = _list_numbers(refinements)
        axes.plot(numbers, means, marker=".", label=f"band {band}")
    axes.set(title="Mean IoU", xlabel="clicks", ylabel="mean IoU", ylim=(None, 1))
    axes.set_xticks(_list_ticks(numbers))


def _draw_histogram(axes: Axes, bands: Bands) -> None:
    width = 0.8 / len(bands)
    for number, (band, refinements) in enumerate(bands.items()):
        curves = [found.ious for found in refinements]
        numbers = _list_numbers(refinements)
        first, last = numbers[0], numbers[-1]
        # Objects that were never segmented stand behind the last click.
        needed = [
            last + 1 if is_failure(curve, _NOC_PERCENT) else count_clicks(curve, _NOC_PERCENT) - 1 + first
            for curve in curves
        ]
        shares = np.bincount(needed, minlength=last + 2)[first:] / len(needed) * 100
        places = np.arange(first, last + 2) + (number - (len(bands) - 1) / 2) * width
        axes.bar(places, shares, width, label=f"band {band}: NoC {score(curves, first).noc[_NOC_PERCENT]:.2f}")
    axes.set(title=f"Clicks to an IoU of {_NOC_PERCENT / 100:.2f}", xlabel="clicks", ylabel="objects, percent")
    ticks = [tick for tick in _list_ticks(numbers) if tick <= max(first, last - 2)]
    axes.set_xticks([*ticks, last + 1], [*map(str, ticks), "never"])


def _draw_latency(axes: Axes, bands: Bands) -> None:
    """Of all bands together: how the unknown band is counted changes no time."""
    refinements = [found for band in bands.values() for found in band]
    every = _list_numbers(refinements)
    columns = {number: _list_seconds(refinements, number - every[0]) for number in every}
    numbers = [number for number, column in columns.items() if column]
    low, median, high = np.transpose([np.percentile(columns[number], (5, 50, 95)) for number in numbers])
    (line,) = axes.plot(numbers, median, marker=".", label="median")
    axes.fill_between(numbers, low, high, color=line.get_color(), alpha=0.2, label="5 to 95 % of the clicks")
    axes.set(title="Time of a click at a new place", xlabel="number of the click", ylabel="seconds", ylim=(0, None))
    axes.set_xticks(_list_ticks(every))


def _list_seconds(refinements: Sequence[Refinement], place: int) -> list[float]:
    """Of the answers at that place, counted from 0."""
    seconds = (found.click_seconds[place] for found in refinements if place < len(found.click_seconds))
    return [second for second in seconds if second is not None]


def _list_numbers(refinements: Sequence[Refinement]) -> range:
    """How many clicks each answer follows: from 0 where a box comes first."""
    first = refinements[0].first_number
    return range(first, first + len(refinements[0].ious))


def _list_ticks(numbers: range) -> list[int]:
    """The first number of clicks, and every fifth."""
    return [numbers[0], *range(5, numbers[-1] + 1, 5)]
