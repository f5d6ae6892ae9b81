"""What is evaluated: numbers compare only where all of it is the same."""

from __future__ import annotations

import dataclasses
import enum


class Rule(enum.StrEnum):
    """Where the next click goes. M2N2: the deepest pixel of all that is wrong. RITM: the deepest pixel of the false
    positives or of the false negatives, whichever is deeper, and none twice."""

    M2N2 = "m2n2"
    RITM = "ritm"


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
    """The counting rules of a run. bands: each is a run of its own on the same prepared images. clicks: of each object,
    always all of them."""

    rule: Rule
    bands: tuple[Band, ...]
    flips: tuple[Flip, ...]
    clicks: int
