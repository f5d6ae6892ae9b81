"""The order in which clicks were made, where a platform keeps none between positive and negative ones.

CVAT sends all positive points, then all negative ones, after each click. A click that was not there the last time is
newer than those that were: so what was asked before tells the order. It counts where clicks correct a mask one after
the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from m2n2_engine.types import Click

Prompts = tuple[tuple[Click, ...], ...]
"""What one image was last asked for, the newest last, each in the order in which its clicks were made."""

_KEPT_PROMPTS = 64
"""Prompts of one image that are remembered. Here: one for each object of a crowded frame, by a few people at a time."""


def restore_order(known: Prompts, clicks: Sequence[Click]) -> tuple[tuple[Click, ...], Prompts]:
    """The order of clicks, told from what was asked before.

    Clicks are the same where coordinates and sign are: another object's, or another person's, as good as never.

    Args:
        known: the prompts of the image.
        clicks: the positive ones, then the negative ones, each in the order in which they were made.

    Returns:
        The same clicks, oldest first as far as is known: in the order of the known prompt that shares most of them,
        then those that are new, as they are given; and the prompts to remember now.
    """
    nearest = max(known, key=lambda prompt: len({*prompt} & {*clicks}), default=())
    ordered = _sort_like(nearest, clicks)
    # The prompt that another click was added to will not be asked for again.
    kept = [prompt for prompt in known if prompt is not nearest or not {*nearest} <= {*clicks}]
    return ordered, (*kept, ordered)[-_KEPT_PROMPTS:]


def _sort_like(order: Iterable[Click], clicks: Iterable[Click]) -> tuple[Click, ...]:
    places = {click: place for place, click in enumerate(order)}
    return tuple(sorted(clicks, key=lambda click: places.get(click, len(places))))
