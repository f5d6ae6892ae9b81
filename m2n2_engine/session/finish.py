"""What is left to do of masks at full size: a given one keeps its pixels, specks go, and twins of what is offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from m2n2_engine.method.decider import Decided
from m2n2_engine.method.shapes import drop_small_parts, enlarge_mask
from m2n2_engine.types import Mask

_SAME_CHANGE = 0.8
"""IoU from which on two changes of a mask are one to whoever looks at them. Here."""

_REACH = 2
"""Pixels of the working size on each side that a pixel of the full size depends on, see ``Kernels.restore_mask``."""


def apply_change(given: Mask, found: Decided, restored: Mask) -> Mask:
    """The mask that was given, with what clicks have changed in it.

    Only pixels near what was added at working size are added, and only those near what was taken away go. So a click
    that only adds at working size only adds here, and all else keeps the border that it was given with.

    Args:
        given: bool ``(H, W)`` at full size.
        found: the same before and after the clicks, at working size.
        restored: ``found.mask`` at full size.
    """
    added, removed = (
        _spread(change, given.shape) for change in (found.mask & ~found.before, found.before & ~found.mask)
    )
    changed: Mask = (given | (added & restored)) & ~(removed & ~restored)
    return changed


def clean_mask(mask: Mask, signs: Mapping[tuple[int, int], bool], least_pixels: float, given: Mask | None) -> Mask:
    """A mask ``(H, W)`` without pieces and holes of fewer pixels, but for those that a click of their sign lies in.

    What it gives of a mask lies within what it gives of a larger one, so a click still only adds or only takes away.

    Args:
        signs: of each clicked pixel ``(x, y)``.
        given: that the clicks started from. Its own small pieces and holes stay.
    """
    for sign in (True, False):
        own = mask if sign else ~mask
        clicked = [pixel for pixel, positive in signs.items() if positive is sign]
        anchors = None if given is None else _find_small_parts(given if sign else ~given, least_pixels)
        own = drop_small_parts(own, least_pixels, clicked, anchors)
        mask = own if sign else ~own
    return mask


def choose_different(found: Sequence[tuple[Mask, float]], before: Mask) -> list[tuple[Mask, float]]:
    """Those of some masks ``(H, W)`` whose changes are clearly different, with their scores; the smallest change first.

    Args:
        found: each with its score. Where two are alike, the earlier stays.
        before: what all of them have changed.
    """
    chosen: list[tuple[Mask, float]] = []
    for mask, score in found:
        change = mask ^ before
        others = (other ^ before for other, _ in chosen)
        if all((change & other).sum() < _SAME_CHANGE * (change | other).sum() for other in others):
            chosen.append((mask, score))
    return sorted(chosen, key=lambda each: int((each[0] ^ before).sum()))


def _spread(change: Mask, size: tuple[int, ...]) -> Mask:
    """All pixels ``(H, W)`` of the full size that depend on a change at working size."""
    near = change
    if change.shape != size:
        near = cv2.dilate(change.astype(np.uint8), np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) > 0
    return enlarge_mask(near, (size[0], size[1]))


def _find_small_parts(mask: Mask, least_pixels: float) -> Mask:
    return mask & ~drop_small_parts(mask, least_pixels, [])
