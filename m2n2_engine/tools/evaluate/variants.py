"""What is compared: presets, each with changes to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.presets import check_preset, parse_change


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """A preset with changes. name: as it was written, with single blanks. changes: names of constants and values."""

    name: str
    preset: str
    changes: tuple[tuple[str, object], ...]

    @property
    def folder_name(self) -> str:
        """Of its results: the name with ``_`` for blanks."""
        return self.name.replace(" ", "_")


def parse_variants(texts: Sequence[str]) -> list[Variant]:
    """``PRESET NAME=VALUE ...`` each. Raises ConfigurationError where one cannot be used, or is there twice."""
    variants = [_parse_variant(text) for text in texts]
    if len({variant.name for variant in variants}) < len(variants):
        raise ConfigurationError("a variant is there twice: name each once")
    return variants


def _parse_variant(text: str) -> Variant:
    words = text.split()
    if not words or "=" in words[0]:
        raise ConfigurationError(f"the variant {text!r} begins with no preset: write 'PRESET NAME=VALUE ...'")
    return Variant(" ".join(words), check_preset(words[0]), tuple(parse_change(word) for word in words[1:]))
