"""When CVAT's page asks for a mask: its rules in three generations, told from what a function announces.

Facts read in its public source, in words of our own. Where a release stands is not told there; the files are
``cvat-canvas/src/typescript/interactionHandler.ts`` and ``cvat-ui/.../controls-side-bar/tools-control.tsx``.

POINTS (2022, commit 0040384b): a box that is drawn says nothing. A point asks where there are as many positive points
as announced, and as many other shapes as the announced negative points; a box is one of those others.
BOXES (2024, commit e1c2ef58): a box asks by the same rule, as soon as it is drawn, and so does a point that is taken
back. Something must have been drawn: a box or a positive point.
COMMANDS (2026, where the canvas is told to draw a box or points): every change asks, with whatever there is, unless
there are fewer positive or negative points than announced. Of this one the canvas is stored as CVAT has it, the rule
only in a copy of its page that somebody else has changed.

Its own functions for Segment Anything announce no positive point as necessary, none negative, and the box as optional.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

BOX, POSITIVE, NEGATIVE = "box", "positive", "negative"


class Generation(enum.Enum):
    """Of the page."""

    POINTS = enum.auto()
    BOXES = enum.auto()
    COMMANDS = enum.auto()


def asks(annotations: Mapping[str, str], shapes: Sequence[str], generation: Generation) -> bool:
    """Whether the page sends a request after the last of the shapes was drawn.

    annotations: of the function, as nuclio has them; what CVAT's server makes of those that are missing: one positive
    point, and no negative ones allowed.
    """
    needs_positive = int(annotations.get("min_pos_points", 1))
    needs_negative = int(annotations.get("min_neg_points", -1))
    positive, negative, boxes = (list(shapes).count(kind) for kind in (POSITIVE, NEGATIVE, BOX))
    if generation is Generation.COMMANDS:
        return positive >= needs_positive and negative >= needs_negative
    # In both earlier ones whatever is not green is no positive point, and a box is not green.
    are_enough = positive >= needs_positive and (needs_negative < 0 or negative + boxes >= needs_negative)
    if generation is Generation.BOXES:
        return are_enough and bool(boxes or positive)
    return are_enough and bool(shapes) and shapes[-1] != BOX
