"""A picture of a run: what a click takes, over the clicks of an object and over the size of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m2n2_engine.errors import ConfigurationError

_INCHES = (14.0, 4.2)
_DOTS_PER_INCH = 120


def draw_plots(figures: dict[str, Any], path: Path) -> None:
    """Write a PNG of what ``report.to_json`` gives. Raises ConfigurationError where it cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    by_number, by_size = figure.subplots(1, 2)
    for report in figures["backbones"]:
        name = f"{report['backbone']}, grid {report['grid']}, {report['preset']}"
        for size in report["sizes"]:
            medians = [1000 * click["median"] for click in size["clicks"]]
            label = f"{name}, {size['megapixels']:.2g} MP"
            by_number.plot(range(1, len(medians) + 1), medians, marker=".", label=label)
        sizes = sorted(report["sizes"], key=lambda size: size["megapixels"])
        megapixels = [size["megapixels"] for size in sizes]
        for what, line in (("first click", "--"), ("next click", "-")):
            medians = [1000 * size["seconds"][what]["median"] for size in sizes]
            by_size.plot(megapixels, medians, line, marker="o", label=f"{name}, {what}")
    by_number.set(xlabel="number of the click", ylabel="click, median in ms", ylim=(0, None))
    by_number.xaxis.get_major_locator().set_params(integer=True)
    by_size.set(xlabel="megapixels of the image", ylabel="click, median in ms", xscale="log", ylim=(0, None))
    by_size.minorticks_off()
    by_size.set_xticks(megapixels, [f"{value:.2g}" for value in megapixels])
    for axes in (by_number, by_size):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{figures['run']['processor']}, {figures['backbones'][0]['device']}, {figures['run']['date']}")
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
