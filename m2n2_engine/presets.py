"""Named sets of the method's constants, and changes to single ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from m2n2_engine.config import AUTO, CONSTANT_KINDS, Decision, EngineConfig, MethodConfig
from m2n2_engine.constant_rules import WEIGHT, check_constant, refuse_constant
from m2n2_engine.errors import ConfigurationError

PAPER = "paper"
CONSENSUS = "consensus"
PAPER_CONSENSUS = "paper-consensus"

_CONSENSUS = MethodConfig(
    spatial_sigma_cells=0.7,
    click_area_limit=0.6,
    decision=Decision.CONSENSUS,
    working_size_pixels=320,
    vote_places=8,
    zoom_largest=0.5,
)

PRESETS: Mapping[str, MethodConfig] = {
    PAPER: MethodConfig(),
    CONSENSUS: _CONSENSUS.replace(key_sharpness=8.0),
    PAPER_CONSENSUS: _CONSENSUS,
}
"""``paper``: as published. ``consensus``: keys attend to keys, and each click corrects the mask by a vote of candidate
regions. Its constants were chosen on GrabCut, ECSSD and COCO64 with dinov2-small: docs/results/presets.md.
``paper-consensus``: the same decision on the paper's own chain, for Stable Diffusion."""


def check_preset(name: str) -> str:
    """The name of a preset, or ``auto``. Raises ConfigurationError, naming what is allowed."""
    if name not in (AUTO, *PRESETS):
        raise ConfigurationError(f"unknown preset {name!r}: use one of {', '.join([AUTO, *PRESETS])}")
    return name


@dataclasses.dataclass(frozen=True, slots=True)
class ChosenMethod:
    """The constants that an engine runs with. name: of their preset and what was changed in it, for people."""

    name: str
    constants: MethodConfig


def choose_method(config: EngineConfig, own_preset: str) -> ChosenMethod:
    """The constants that ``config`` asks for, on a backbone whose own preset is ``own_preset``.

    Raises ConfigurationError for a preset or a constant that there is not.
    """
    if config.method is not None:
        return ChosenMethod("constants given whole", config.method)
    preset = own_preset if check_preset(config.preset) == AUTO else config.preset
    changes = {name: _check(name, value) for name, value in config.changes.items()}
    name = ", ".join([preset, *(f"{name}={value}" for name, value in changes.items())])
    return ChosenMethod(name, PRESETS[preset].replace(**changes))


def parse_change(text: str) -> tuple[str, object]:
    """``NAME=VALUE`` -> a field of MethodConfig and its value. Raises ConfigurationError, naming what is allowed."""
    name, _, value = text.partition("=")
    return name.strip(), _check(name.strip(), value.strip())


def _check(name: str, value: object) -> Any:
    """The value in the type that the constant has, whatever it was written as."""
    if name not in CONSTANT_KINDS:
        raise ConfigurationError(f"the method has no constant {name!r}: use one of {', '.join(CONSTANT_KINDS)}")
    kind = CONSTANT_KINDS[name]
    try:
        parsed = _PARSERS[kind](str(value))
    except ValueError:
        raise refuse_constant(name, kind, value) from None
    check_constant(name, kind, parsed)
    return parsed


def _parse_optional(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    WEIGHT: float,
    "float": float,
    "int": int,
    "float | None": _parse_optional,
    "Decision": Decision,
}
