"""Which brush region on the annotator's page a request is about.

The context of a click holds key points alone. What the annotator has painted or accepted before is in the draft that
Label Studio saves while an annotation is not submitted; before the first one is saved, the page shows the prediction
that it began with. A region of the answer that has the id of one there replaces it when it is accepted.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from backend.errors import InvalidRequest
from backend.label_studio import brush_rle
from backend.label_studio.label_config import BRUSH, Control
from backend.label_studio.payload import DraftRegion, Region
from backend.label_studio.prompt import Prompt
from m2n2_engine.types import Click, Mask

BRUSH_TYPE = "brushlabels"
"""Type of the regions that are masks, and the name of their labels."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DraftedMask:
    """A region of the draft. id: by which an answer replaces it. mask: bool ``(H, W)`` at the size that Label Studio
    gives."""

    id: str
    mask: Mask


def find_refined(prompt: Prompt, regions: Sequence[DraftRegion], shape: tuple[int, int]) -> DraftedMask | None:
    """The uppermost one of these of the same label under the first click, of either sign; None where there is none, and
    where a box says what the object is.

    regions: the uppermost last. shape: ``(H, W)`` that Label Studio draws masks at. What cannot be read is passed over,
    with a line in the log.
    """
    control = next((control for control in prompt.controls if control.tag == BRUSH), None)
    click = None if prompt.rectangle is not None else next(iter(prompt.clicks(shape)), None)
    if control is None or click is None:
        return None
    return _find_under(click, regions, prompt.region, control, shape)


def find_replaced_id(prompt: Prompt, control: Control, shape: tuple[int, int]) -> str | None:
    """Id of the uppermost one under the first positive click; None where there is none."""
    click = next((click for click in prompt.clicks(shape) if click.positive), None)
    found = None if click is None else _find_under(click, prompt.drafted, prompt.region, control, shape)
    return None if found is None else found.id


def _find_under(
    click: Click, regions: Sequence[DraftRegion], asking: Region, control: Control, shape: tuple[int, int]
) -> DraftedMask | None:
    at = min(int(click.y), shape[0] - 1), min(int(click.x), shape[1] - 1)
    for drafted in reversed(regions):
        if _is_same_object(drafted, asking, control):
            mask = _decode(drafted, shape)
            if mask is not None and mask[at]:
                return DraftedMask(drafted.id, mask)
    return None


def _is_same_object(drafted: DraftRegion, region: Region, control: Control) -> bool:
    return (
        drafted.type == BRUSH_TYPE
        and bool(drafted.id)
        and (drafted.from_name, drafted.to_name) == (control.name, region.to_name)
        and drafted.item_index == region.item_index
        and drafted.value.get(BRUSH_TYPE) == region.value.labels
    )


def _decode(drafted: DraftRegion, shape: tuple[int, int]) -> Mask | None:
    rle = drafted.value.get("rle")
    if not isinstance(rle, list):
        return None
    try:
        return brush_rle.decode(rle, shape)
    except InvalidRequest as error:
        logger.warning("the region %s of the draft is passed over: %s", drafted.id, error)
        return None
