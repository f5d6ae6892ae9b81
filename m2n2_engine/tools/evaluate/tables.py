"""The tables that are printed, made of the figures of ``report.to_json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from m2n2_engine.tools.evaluate.measures.metrics import THRESHOLDS
from m2n2_engine.tools.evaluate.measures.totals import OF_CLICKS
from m2n2_engine.tools.evaluate.refinement import MARKED_NUMBERS
from m2n2_engine.tools.evaluate.report import Figures, describe

_WIDEST = 300
"""Characters of a table's line: it is not cut to the width of a terminal, so that it can be copied into a document."""

_SHOWN_NUMBERS = (1, 3, 5, 10)
"""After so many clicks the means are shown, where no box comes first."""

Column = tuple[str, Callable[[Mapping[str, Any]], str]]
"""Heading, and its cell from the figures of one band or one class of sizes."""


def print_tables(reports: Sequence[Figures], console: Console) -> None:
    """The figures, the invariants and the figures by size, a line for each dataset and band, under what all of them
    have in common."""
    console.print(describe(reports[0]), highlight=False)
    _print_figures(reports, console)
    _print_invariants(reports, console)
    _print_sizes(reports, console)


def print_comparison(variants: Mapping[str, Sequence[Figures]], console: Console) -> None:
    """A line for each variant, dataset and band. variants: name -> a report for each dataset."""
    first = next(iter(variants.values()))[0]
    console.print(describe(first).replace(f"preset {first['run']['preset']}, ", ""), highlight=False)
    columns = list_columns(first)
    headings = [heading for heading, _ in columns]
    table = Table("variant", "dataset", "unknown band", *headings, "invariants", "s a click", box=box.MARKDOWN)
    for variant, reports in variants.items():
        for report in reports:
            for band, found in report["figures"].items():
                cells = [render(found) for _, render in columns]
                total = str(found["invariants"]["total"])
                table.add_row(variant, report["dataset"], band, *cells, total, _seconds(report["click_seconds"]))
    _print(table, console)


def list_columns(report: Figures) -> list[Column]:
    """The main figures of a run: of clicks, or of a box and the clicks after it."""
    numbers = list_numbers(report)
    ious = [_find_iou_column(number, report) for number in numbers]
    borders = [_find_border_column(number) for number in numbers]
    if report["box"] is not None:
        return [("filled box", lambda found: f"{found['filled_box_iou']:.3f}"), *ious, *borders]
    never: Column = ("never 0.85", lambda found: f"{found['failures'][85]:g}")
    return [*(_find_noc_column(percent) for percent in (85, 90)), *ious, *borders, never]


def list_numbers(report: Figures) -> list[int]:
    """The numbers of clicks after which means are shown."""
    shown = _SHOWN_NUMBERS if report["box"] is None else MARKED_NUMBERS
    return [number for number in shown if number <= report["clicks"]]


def _find_noc_column(percent: int) -> Column:
    return f"NoC{percent}", lambda found: f"{found['noc'][percent]:.2f}"


def _find_iou_column(number: int, report: Figures) -> Column:
    place = number - (1 if report["box"] is None else 0)
    return f"IoU {_name_number(number)}", lambda found: f"{found['mean_iou'][place]:.3f}"


def _find_border_column(number: int) -> Column:
    return f"F {_name_number(number)}", lambda found: f"{found['boundary_f'][number]:.3f}"


def _name_number(number: int) -> str:
    return str(number) if number else "box"


def _print_figures(reports: Sequence[Figures], console: Console) -> None:
    first = reports[0]
    columns = list_columns(first) if first["box"] is not None else _list_classic_columns(first["clicks"])
    headings = [heading for heading, _ in columns]
    times = {"s a box": "box_seconds"} if first["box"] is not None else {}
    times |= {"s a click": "click_seconds", "s to prepare": "prepare_seconds"}
    table = Table("dataset", "objects", "unknown band", *headings, *times, box=box.MARKDOWN)
    for report in reports:
        seconds = [_seconds(report[name]) for name in times.values()]
        for band, found in report["figures"].items():
            cells = [render(found) for _, render in columns]
            table.add_row(report["dataset"], str(report["objects"]), band, *cells, *seconds)
    _print(table, console)


def _list_classic_columns(clicks: int) -> list[Column]:
    """Those that papers print."""

    def count_failures(percent: int) -> Column:
        return f"failures {percent} %", lambda found: f"{found['failures'][percent]:g}"

    return [
        *map(_find_noc_column, THRESHOLDS),
        *map(count_failures, THRESHOLDS),
        ("mIoU click 1", lambda found: f"{found['mean_iou'][0]:.3f}"),
        (f"mIoU click {clicks}", lambda found: f"{found['mean_iou'][-1]:.3f}"),
    ]


def _print_invariants(reports: Sequence[Figures], console: Console) -> None:
    console.print("\ninvariants: how often they do not hold", highlight=False)
    first = next(iter(reports[0]["figures"].values()))["invariants"]
    names = [name for name in (*OF_CLICKS, "outside_box", "flips") if name in first]
    headings = ["dataset", "unknown band", "clicks", *names, "far pixels right / wrong", "specks a mask", "small holes"]
    table = Table(*headings, "total", box=box.MARKDOWN)
    for report in reports:
        for band, figures in report["figures"].items():
            found = figures["invariants"]
            far, specks = found["changed_far"], found["specks"]
            table.add_row(
                report["dataset"],
                band,
                str(found["clicks"]),
                *(f"{found[name]['count']} ({found[name]['share']:.1%})" for name in names),
                f"{far['right_pixels']} / {far['wrong_pixels']}",
                f"{specks['pieces']:.2f}",
                f"{specks['holes']:.2f}",
                str(found["total"]),
            )
    _print(table, console)


def _print_sizes(reports: Sequence[Figures], console: Console) -> None:
    console.print("\nby size of the object, as a share of the image", highlight=False)
    columns = list_columns(reports[0])
    table = Table("dataset", "unknown band", "size", "objects", *(name for name, _ in columns), box=box.MARKDOWN)
    for report in reports:
        for band, figures in report["figures"].items():
            for size, found in {**figures["by_size"], "all": figures}.items():
                cells = [render(found) for _, render in columns]
                table.add_row(report["dataset"], band, size, f"{found['objects']:g}", *cells)
    _print(table, console)


def _seconds(median: float | None) -> str:
    return "" if median is None else f"{median:.2f}"


def _print(table: Table, console: Console) -> None:
    Console(file=console.file, width=_WIDEST).print(table)
