"""Which boxes of a request ask for a mask, and which points belong to a box."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence

from pydantic import ValidationError

from backend.label_studio.label_config import Control
from backend.label_studio.payload import DraftRegion, KeyPoint, Rectangle, Region

MOST_BOXES = 20
"""Answered at once; more than anybody leaves pending would hold up everyone else."""

_NEAR_SHARE = 0.25
"""Of a box's width and height, around it. Here: what sticks out of a box drawn in haste is nearer, another object most
often farther."""

logger = logging.getLogger(__name__)


def choose_boxes(
    boxes: Sequence[Rectangle],
    controls: Sequence[Control],
    asked: Mapping[str, Rectangle],
    finished: Collection[str],
) -> list[Rectangle]:
    """The boxes that ask for a mask, oldest first, the last twenty of them; the newest alone where none is known to.

    Args:
        boxes: of a request, oldest first, at least one. All of one label are among them, drawn by hand or not.
        controls: of the labelling configuration.
        asked: boxes that asked before, by their ids.
        finished: ids of regions of annotations.
    """
    smart_only = {control.name for control in controls if control.is_smart_only}
    by_hand = {control.name for control in controls if not control.is_smart}
    chosen = [box for box in boxes if box.id in asked or (box.from_name in smart_only and box.id not in finished)]
    # Moving an older box asks, too. Then the last one in the list is not what asked.
    has_moved = any(box.id in asked and asked[box.id].value != box.value for box in chosen)
    newest = boxes[-1]
    if newest not in chosen and not has_moved and newest.from_name not in by_hand:
        chosen.append(newest)
    return choose_usable(chosen or [newest])[-MOST_BOXES:]


def choose_usable(boxes: Sequence[Rectangle]) -> list[Rectangle]:
    """The boxes without those that no mask can be found in, which the log names; the newest where all are such."""
    usable = [box for box in boxes if explain_unusable(box) is None]
    for box in boxes:
        reason = explain_unusable(box)
        if reason is not None and usable:
            logger.warning("a box is left out of the answer: %s", reason)
    return usable or [boxes[-1]]


def explain_unusable(box: Rectangle) -> str | None:
    """Why no mask can be found in a box and what to do; None where one can."""
    value = box.value
    if value.rotation % 360:
        return f"a rectangle is rotated by {value.rotation:g} degrees; draw it upright"
    if not value.width or not value.height:
        return "a rectangle has no width or no height; draw it around the object"
    if not (_reaches_in(value.x, value.width) and _reaches_in(value.y, value.height)):
        return f"a rectangle lies outside of the image, at x = {value.x:g}, y = {value.y:g} percent; draw it anew"
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one object. region: the newest of it. box: None for clicks alone."""

    region: Region
    points: tuple[KeyPoint, ...]
    box: Rectangle | None


def join_clicks(points: Sequence[KeyPoint], boxes: Sequence[Rectangle]) -> Asked:
    """All clicks; or where the newest one corrects a box, that box and all that correct it. Both oldest first."""
    box = find_box(points[-1], boxes)
    kept = points if box is None else [point for point in points if find_box(point, boxes) is box]
    return Asked(points[-1], tuple(kept), box)


def join_boxes(boxes: Sequence[Rectangle], points: Sequence[KeyPoint]) -> list[Asked]:
    """Each box with the clicks that correct it, of the newest box those in it: whoever drew it left the others out."""

    def belongs(point: KeyPoint, box: Rectangle) -> bool:
        return find_box(point, boxes) is box and (box is not boxes[-1] or _is_within(point, box, 0.0))

    return [Asked(box, tuple(point for point in points if belongs(point, box)), box) for box in boxes]


def find_box(point: KeyPoint, boxes: Sequence[Rectangle]) -> Rectangle | None:
    """The box, oldest first, that a point corrects: the newest one that it lies in, else the newest that it lies near;
    None where it lies near none."""
    usable = [box for box in reversed(boxes) if explain_unusable(box) is None]
    inside = (box for box in usable if _is_within(point, box, 0.0))
    near = (box for box in usable if _is_within(point, box, _NEAR_SHARE))
    return next(inside, None) or next(near, None)


def find_drafted_boxes(drafted: Sequence[DraftRegion], controls: Sequence[Control], region: Region) -> list[Rectangle]:
    """The boxes of drafts that ask for certain, of a tag that is smart only, with the labels, image and page of a
    region. They are what is left where this process does not remember, after a restart or beside another one."""
    smart_only = {control.name for control in controls if control.is_smart_only}
    found = []
    for one in drafted:
        if one.type == Rectangle.result_type and one.from_name in smart_only:
            with contextlib.suppress(ValidationError):
                found.append(Rectangle.model_validate(one.model_dump(exclude={"is_positive"})))
    return [box for box in found if is_same_place(box, region)]


def is_same_place(one: Region, other: Region) -> bool:
    """Whether two regions have the same labels, image and page."""
    return (one.value.labels, one.to_name, one.item_index) == (other.value.labels, other.to_name, other.item_index)


def _is_within(point: KeyPoint, box: Rectangle, margin: float) -> bool:
    """Whether a point lies in a box that is larger by this share of its width and height at each side."""
    across, down = margin * box.value.width, margin * box.value.height
    left, top = box.value.x - across, box.value.y - down
    right, bottom = box.value.x + box.value.width + across, box.value.y + box.value.height + down
    return left <= point.value.x <= right and top <= point.value.y <= bottom


def _reaches_in(start: float, extent: float) -> bool:
    return min(start, start + extent) < 100 and max(start, start + extent) > 0
