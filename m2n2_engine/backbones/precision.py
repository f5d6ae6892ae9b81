"""How exactly DINOv2 computes: in 32 bits, or in 16 where a processor multiplies those faster."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from m2n2_engine.config import AUTO
from m2n2_engine.errors import ConfigurationError

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""torch's names of what multiplies such numbers, of which a processor needs one. Without them it is slower. Here."""


class Precision(enum.StrEnum):
    """Numbers that a network multiplies."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def list_instructions() -> Mapping[str, Any]:
    """What this processor can do, by torch's names; nothing where torch is too old to tell."""
    # Imported here: whoever only asks for names or help need not wait for it.
    import torch

    ask: Callable[[], Mapping[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    return {} if ask is None else ask()


def choose_precision(
    asked: str, device: str, *, as_published: bool, instructions: Callable[[], Mapping[str, Any]] = list_instructions
) -> Precision:
    """The precision of a DINOv2.

    By what the processor can do, and not by a stopwatch: two servers of one kind, and one server after each start, must
    give the same mask.

    Args:
        asked: ``auto`` or a name of ``Precision``.
        device: as ``choose_device`` gives it.
        as_published: the preset is the paper's, which stays exact unless told otherwise.
        instructions: see ``list_instructions``.

    Raises:
        ConfigurationError: another name, or ``bfloat16`` on a GPU, whose masks agree with the processor's in 32 bits.
    """
    names = [AUTO, *Precision]
    if asked not in names:
        raise ConfigurationError(f"unknown precision {asked!r}: use one of {', '.join(names)}")
    if asked == Precision.BFLOAT16 and device != "cpu":
        raise ConfigurationError(f"the precision bfloat16 is for processors, and the device is {device}: use auto")
    if asked != AUTO:
        return Precision(asked)
    known = instructions() if device == "cpu" and not as_published else {}
    return Precision.BFLOAT16 if any(known.get(name) for name in _INSTRUCTIONS) else Precision.FLOAT32
