"""The order in which clicks were made, where a platform keeps none between positive and negative ones.

CVAT sends all positive points, then all negative ones, after each click. A click that was not there the last time is
newer than those that were: so what was asked before tells the order. It counts where clicks correct a mask one after
the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from m2n2_engine.types import Click

_KEPT_PROMPTS = 16
"""Prompts of one image that are remembered: those of a few objects, by a few people at a time."""


class ClickOrder:
    """The prompts that one image was last asked for; safe under threads.

    Clicks are the same where coordinates and sign are: another object's, or another person's, as good as never.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompts: deque[list[Click]] = deque(maxlen=_KEPT_PROMPTS)

    def restore(self, clicks: Sequence[Click]) -> list[Click]:
        """The same clicks, oldest first as far as is known: in the order of the remembered prompt that shares most of
        them, then those that are new, as they are given."""
        with self._lock:
            known = max(self._prompts, key=lambda prompt: len({*prompt} & {*clicks}), default=[])
            ordered = _sort_like(known, clicks)
            # The prompt that another click was added to will not be asked for again.
            if known and {*known} <= {*clicks}:
                self._prompts.remove(known)
            self._prompts.append(ordered)
        return ordered


def _sort_like(order: Iterable[Click], clicks: Iterable[Click]) -> list[Click]:
    places = {click: place for place, click in enumerate(order)}
    return sorted(clicks, key=lambda click: places.get(click, len(places)))
