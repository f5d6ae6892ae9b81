"""What the constants of the method, and the numbers of an engine, may be.

They are looked at wherever they enter: as text, or made by a program.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

from m2n2_engine.errors import ConfigurationError

WEIGHT = "weight"
"""The kind of constants that weigh evidence."""

POSITIVE_NAMES = frozenset(
    {
        "temperature",
        "spatial_sigma_cells",
        "range_sigma",
        "window_sigmas",
        "region_colour_scale",
        "region_edge_scale",
        "colour_edge_scale",
        "zoom_factor",
        "edge_levels",
        "box_side_seeds",
        "grid",
        "threads",
    }
)
"""What is divided by, and what there must be at least one of."""

_Rule = tuple[Callable[[Any], bool], str]


def check_constants(constants: Any, kind: str | None = None) -> None:
    """Raise ConfigurationError unless every field of a dataclass has a value that it may have. kind: of all of them;
    None for the type of each."""
    for field in dataclasses.fields(constants):
        check_constant(field.name, kind or str(field.type), getattr(constants, field.name))


def check_constant(name: str, kind: str, value: object) -> None:
    """Raise ConfigurationError, naming what is allowed, unless a constant may have this value.

    Args:
        name: of the constant, for the message and for rules of its own.
        kind: its type as it is written, or ``weight``. There is no rule for other kinds.
        value: in its own type.
    """
    rule = _find_rule(name, kind)
    if rule is not None and not rule[0](value):
        raise refuse_constant(name, kind, value)


def refuse_constant(name: str, kind: str, value: object) -> ConfigurationError:
    """The refusal of a value; it says what is allowed."""
    rule = _find_rule(name, kind)
    return ConfigurationError(f"{name}={value} cannot be used: it must be {rule[1] if rule else kind}")


def _find_rule(name: str, kind: str) -> _Rule | None:
    return (_POSITIVE_RULES if name in POSITIVE_NAMES else _RULES).get(kind)


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_not_negative(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value) and float(value) >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and int(value) >= 0


_RULES: dict[str, _Rule] = {
    WEIGHT: (_is_finite, "a number"),
    "float": (_is_not_negative, "a number that is not negative"),
    "int": (_is_count, "a whole number that is not negative"),
    "int | None": (lambda value: value is None or _is_count(value), "a whole number that is not negative, or none"),
    "Decision": (lambda value: value in ("joint", "consensus"), "one of joint, consensus"),
    "float | None": (lambda value: value is None or _is_not_negative(value), "a number that is not negative, or none"),
}

_POSITIVE_RULES: dict[str, _Rule] = {
    "float": (lambda value: _is_not_negative(value) and value > 0, "a number above 0"),
    "int": (lambda value: _is_count(value) and value > 0, "a whole number above 0"),
    "int | None": (lambda value: value is None or (_is_count(value) and value > 0), "a whole number above 0, or none"),
}
