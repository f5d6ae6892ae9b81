"""Tables of figures on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from m2n2_engine.tools.context import output

_WIDEST = 320
"""Columns of text: a table is not folded to the width of a terminal, nor where its output goes to a file. Here."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, its first column flush left."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(file=output.file, width=_WIDEST).print(table, markup=False)
