"""The tables of a run in a Markdown file that holds those of others too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from m2n2_engine.tools.benchmark.files import write_text

Row = Sequence[str]


def render_table(columns: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def render_run(facts: dict[str, str | int | None]) -> str:
    """Date, command and machine in a paragraph."""
    shown = {name: value for name, value in facts.items() if name not in ("date", "command") and value is not None}
    machine = ", ".join(f"{name} {value}" for name, value in shown.items())
    return f"{facts['date']}, by `{facts['command']}`; {machine}."


def replace_section(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks of the section ``name``; a section that is not there is added at the end.

    Raises ConfigurationError where the file cannot be written.
    """
    content = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->\n"
    pattern = re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- /{re.escape(name)} -->\n", re.DOTALL)
    replaced, found = pattern.subn(lambda _: section, content)
    write_text(path, replaced if found else f"{content.rstrip()}\n\n{section}")
