"""Prompts -> Label Studio's regions: brush RLE, bitmasks and polygons."""

from __future__ import annotations

import dataclasses
import logging
import statistics
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from backend.errors import InvalidRequest
from backend.http.request import RequestRecord
from backend.label_studio import brush_rle
from backend.label_studio.drafted import BRUSH_TYPE, DraftedMask, find_refined, find_replaced_id
from backend.label_studio.label_config import BITMASK, BRUSH, MASK_TAGS, POLYGON, Control
from backend.label_studio.payload import DraftRegion, Region
from backend.label_studio.prompt import Prompt
from backend.label_studio.shapes import bitmask
from backend.label_studio.shapes.polygons import trace_polygons
from backend.scheduling.clicks import ClickService, PixelPrompt, Ticket
from backend.settings import Settings
from m2n2_engine.errors import InvalidMask
from m2n2_engine.types import Mask, Picture, Segmentation

POLYGON_TYPE = "polygonlabels"
BITMASK_TYPE = "bitmasklabels"

# 1e-4 percent of 10,000 pixels is a hundredth of a pixel.
_PERCENT_DIGITS = 4

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where in a task a mask belongs: the image of that name, of several pages the one that counts so much from 0, and
    the labels that it has."""

    to_name: str
    labels: tuple[str, ...]
    item_index: int | None = None


def answer_prompts(
    prompts: Sequence[Prompt], clicks: ClickService, record: RequestRecord, settings: Settings
) -> dict[str, Any]:
    """One prediction with the masks of all prompts of a request; an empty one where they name no object.

    Raises what ``ClickService.segment`` raises, InvalidClicks and InvalidRequest.
    """
    asked = [prompt for prompt in prompts if prompt.names_object or _list_correctable(prompt, settings)]
    if len(asked) < len(prompts):
        logger.info("empty result: no positive key point in the context")
    prompts = asked
    if not prompts:
        return render_answer([], 0.0, clicks.model_version)
    max_pixels = settings.max_image_megapixels * 1_000_000
    with clicks.queue.join(prompts[0].object_key, record) as ticket:
        picture = clicks.fetch(prompts[0].image, ticket, find_shown_size(prompts[0].region))
        placed = [(prompt, prompt.in_pixels(picture.size)) for prompt in prompts]
        # Clicks that all lie far outside say nothing of the image.
        placed = [(prompt, one) for prompt, one in placed if one.clicks or one.box is not None]
        if not placed:
            return render_answer([], 0.0, clicks.model_version)
        prompts, in_pixels = [prompt for prompt, _ in placed], [one for _, one in placed]
        shapes = [find_answer_shape(prompt.region, picture.size, max_pixels) for prompt in prompts]
        drafted = [_find_start(prompt, shape, settings) for prompt, shape in zip(prompts, shapes, strict=True)]
        found, starts = _segment(picture, in_pixels, drafted, clicks, ticket)
    with record.measure("encode"):
        regions = []
        for prompt, shape, start, one in zip(prompts, shapes, starts, found, strict=True):
            refined = None if start is None else start.id
            regions += render_regions(prompt, resize_mask(one.mask, shape), one.score, settings, refined)
        return render_answer(regions, statistics.mean(one.score for one in found), clicks.model_version)


def find_shown_size(region: Region) -> tuple[int, int] | None:
    """(H, W) of the image as Label Studio's page has it; None where it does not say so."""
    if not region.original_height or not region.original_width:
        return None
    return region.original_height, region.original_width


def find_answer_shape(region: Region, image_shape: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """(H, W) that Label Studio draws the mask at: the size it gives, or the image's. Raises InvalidRequest."""
    shape = (region.original_height or image_shape[0], region.original_width or image_shape[1])
    if shape[0] * shape[1] > max_pixels:
        raise InvalidRequest(
            f"the key point gives an image of {shape[1]} x {shape[0]} pixels: raise M2N2_MAX_IMAGE_MEGAPIXELS"
        )
    if shape != image_shape:
        logger.warning(
            "Label Studio gives the image as %d x %d pixels, but it has %d x %d: the mask is scaled",
            *(shape[1], shape[0], image_shape[1], image_shape[0]),
        )
    return shape


def resize_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """The mask at another (H, W), each pixel from the one below its centre."""
    if mask.shape == shape:
        return mask
    rows, columns = ((np.arange(new) * 2 + 1) * old // (2 * new) for new, old in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def render_regions(
    prompt: Prompt, mask: Mask, score: float, settings: Settings, refined: str | None = None
) -> list[dict[str, Any]]:
    """A mask (H, W) as regions for a prompt, as `render_mask` does. refined: id of the brush region that it is a
    correction of."""
    if not mask.any():
        return []
    brush = next((one for one in _choose_controls(prompt.controls, settings.output) if one.tag == BRUSH), None)
    replaced = refined
    if replaced is None and brush is not None and settings.replace_draft_region:
        replaced = find_replaced_id(prompt, brush, (mask.shape[0], mask.shape[1]))
    region = prompt.region
    place = Place(region.to_name, tuple(region.value.labels), region.item_index)
    return render_mask(place, prompt.controls, mask, score, settings, replaced)


def render_mask(
    place: Place,
    controls: tuple[Control, ...],
    mask: Mask,
    score: float,
    settings: Settings,
    replaced: str | None = None,
    id_prefix: str = "",
) -> list[dict[str, Any]]:
    """A mask (H, W) that is not empty as regions of the kinds that are wanted and that there is a control for. Each has
    a new id, so that accepting it replaces no other region. replaced: id of the brush region that it takes the place
    of. id_prefix: of the new ids."""

    def new_id() -> str:
        return id_prefix + uuid.uuid4().hex

    regions = []
    for control in _choose_controls(controls, settings.output):
        labels = [label for label in place.labels if control.takes(place.to_name, label)]
        if control.tag == BRUSH:
            value: dict[str, Any] = {"format": "rle", "rle": brush_rle.encode(mask), BRUSH_TYPE: labels}
            regions.append(_render_region(place, control, BRUSH_TYPE, value, mask.shape, score, replaced or new_id()))
            continue
        if control.tag == BITMASK:
            value = {"imageDataURL": bitmask.encode(mask), BITMASK_TYPE: labels}
            regions.append(_render_region(place, control, BITMASK_TYPE, value, mask.shape, score, new_id()))
            continue
        for polygon in trace_polygons(mask, settings.polygon_tolerance_pixels, settings.polygon_vertices):
            percent = np.round(polygon * (100 / mask.shape[1], 100 / mask.shape[0]), _PERCENT_DIGITS)
            value = {"points": percent.tolist(), "closed": True, POLYGON_TYPE: labels}
            regions.append(_render_region(place, control, POLYGON_TYPE, value, mask.shape, score, new_id()))
    return regions


def render_answer(result: list[dict[str, Any]], score: float, model_version: str) -> dict[str, Any]:
    """One prediction of an interactive answer; no region in ``result`` clears the pending suggestion."""
    return {"result": result, "score": score, "model_version": model_version}


def _find_start(prompt: Prompt, shape: tuple[int, int], settings: Settings) -> DraftedMask | None:
    """The region that the clicks correct; None where they find an object anew."""
    regions = _list_correctable(prompt, settings)
    is_brush = any(control.tag == BRUSH for control in _choose_controls(prompt.controls, settings.output))
    return find_refined(prompt, regions, shape) if regions and is_brush else None


def _list_correctable(prompt: Prompt, settings: Settings) -> tuple[DraftRegion, ...]:
    """The regions that the settings have clicks correct, the uppermost last: proposals, or all that are drafted."""
    proposed = prompt.proposed if settings.propose != "off" else ()
    if not settings.refine_region:
        return proposed
    drafted = {region.id for region in prompt.drafted}
    return (*(region for region in proposed if region.id not in drafted), *prompt.drafted)


def _segment(
    picture: Picture,
    asked: Sequence[PixelPrompt],
    starts: Sequence[DraftedMask | None],
    clicks: ClickService,
    ticket: Ticket,
) -> tuple[list[Segmentation], Sequence[DraftedMask | None]]:
    """The masks, and what they are corrections of."""
    started = [
        one if start is None else dataclasses.replace(one, mask=resize_mask(start.mask, picture.size))
        for one, start in zip(asked, starts, strict=True)
    ]
    try:
        return clicks.segment(picture, started, ticket), starts
    except InvalidMask as error:
        logger.warning("M2N2_REFINE_REGION has no effect: %s", error)
        return clicks.segment(picture, asked, ticket), [None] * len(asked)


def _choose_controls(controls: tuple[Control, ...], output: str) -> list[Control]:
    """The controls of the kind that is wanted, or of the other one where the configuration has no such. Of the tags for
    masks one is enough."""
    masks = [control for tag in MASK_TAGS for control in controls if control.tag == tag][:1]
    polygons = [control for control in controls if control.tag == POLYGON]
    wanted = {"brush": masks, "polygon": polygons, "both": masks + polygons}[output]
    return wanted or masks + polygons


def _render_region(
    place: Place,
    control: Control,
    result_type: str,
    value: dict[str, Any],
    shape: tuple[int, ...],
    score: float,
    region_id: str,
) -> dict[str, Any]:
    page = {} if place.item_index is None else {"item_index": place.item_index}
    return {
        "id": region_id,
        "from_name": control.name,
        "to_name": place.to_name,
        "type": result_type,
        "original_width": shape[1],
        "original_height": shape[0],
        "image_rotation": 0,
        **page,
        "score": score,
        "readonly": False,
        "value": value,
    }
