"""The table of the library's public names in docs/library.md, made from their docstrings."""

from __future__ import annotations

import inspect
import re

import m2n2_engine

_METHODS = {
    "Engine": ("segment", "candidates", "propose", "prepare", "find_tier", "flush", "warm_up", "status"),
    "M2N2SegmentationModel": ("segment",),
}
"""What users of the library call. The engine's other methods are for the server, the other classes are values."""


def render_library_table() -> str:
    """One line for each public name and method: how it is called, and the first sentence of its docstring."""
    lines = ["| name | what it is |", "|---|---|"]
    for name in m2n2_engine.__all__:
        found = getattr(m2n2_engine, name)
        if not callable(found):
            continue
        lines.append(f"| `{name}` | {_first_sentence(found)} |")
        for method in _METHODS.get(name, ()):
            called = getattr(found, method)
            lines.append(f"| `{name}.{method}({_arguments(called)})` | {_first_sentence(called)} |")
    return "\n".join([*lines, ""])


def _arguments(method: object) -> str:
    assert callable(method)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return ", ".join(
        each.name if each.default is inspect.Parameter.empty else f"{each.name}=..." for each in parameters
    )


def _first_sentence(found: object) -> str:
    text = " ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split())
    sentence = re.match(r".*?\.(?= [A-Z]|$)", text)
    plain = sentence[0] if sentence else text
    return plain.replace("``", "`").replace("|", r"\|")
