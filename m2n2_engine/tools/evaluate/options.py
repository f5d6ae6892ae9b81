"""What is evaluated: numbers compare only where all of it is the same."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class Rule(enum.StrEnum):
    """What the next click corrects. M2N2: all that is wrong. RITM: the false positives or the false negatives,
    whichever has the deeper pixel, and no pixel twice."""

    M2N2 = "m2n2"
    RITM = "ritm"


class ClicksAt(enum.StrEnum):
    """Where in what it corrects a click falls. CENTRE: on the deepest pixel. INNER: anywhere in its inner 70 %, drawn
    anew for each object, and the same in every run. INNER_SEEDED: as INNER, with draws that a seed chooses."""

    CENTRE = "centre"
    INNER = "inner"
    INNER_SEEDED = "inner-seeded"


class BoxKind(enum.StrEnum):
    """How a box lies around an object. TIGHT: its bounding box. LOOSE: that with a margin, as people draw it."""

    TIGHT = "tight"
    LOOSE = "loose"


class Band(enum.StrEnum):
    """What the pixels around an object are whose side nobody labelled. OBJECT: part of it. IGNORE: nothing: they leave
    the IoU and are never clicked."""

    OBJECT = "object"
    IGNORE = "ignore"


class Flip(enum.StrEnum):
    """How image and truth are turned before they are evaluated."""

    NONE = "none"
    HORIZONTAL = "horizontal"
    VERTICAL = "vertical"
    BOTH = "both"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The counting rules of a run.

    bands: each is a run of its own on the same prepared images. clicks: of each object, always all of them. seed: of
    the draws of ``ClicksAt.INNER_SEEDED``. box: drawn before the first click, and given with every click. jitter: also
    move the first click, or the box, by two pixels.
    """

    rule: Rule
    bands: tuple[Band, ...]
    flips: tuple[Flip, ...]
    clicks: int
    clicks_at: ClicksAt = ClicksAt.CENTRE
    seed: int | None = None
    box: BoxKind | None = None
    jitter: bool = False

    @property
    def first_number(self) -> int:
        """How many clicks the first answer follows: 0 where a box comes first, else 1."""
        return 1 if self.box is None else 0

    @property
    def numbers(self) -> range:
        """How many clicks each answer follows."""
        return range(self.first_number, self.clicks + 1)

    def settings(self) -> dict[str, Any]:
        """What changes a refinement, as values of JSON. Each band and flip has refinements of its own."""
        options = dataclasses.asdict(self)
        return {name: value for name, value in options.items() if name not in ("bands", "flips")}
