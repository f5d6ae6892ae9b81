"""A request of Label Studio's -> prompts: the clicks or the box of each object that is asked for, in percent.

Label Studio sends every key point of an object with each click, so that each answer follows from its request alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence

from pydantic import ValidationError

from backend.errors import InvalidRequest
from backend.http.request import MOST_CLICKS, render_problem
from backend.images.cache import TaskImage
from backend.label_studio.label_config import ANSWER_TAGS, Control, parse_label_config
from backend.label_studio.payload import DraftRegion, KeyPoint, PredictRequest, Rectangle, Region, Task
from backend.scheduling.clicks import ObjectKey, PixelPrompt
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.types import Box, Click

_REGION_KINDS: dict[str, type[Region]] = {kind.result_type: kind for kind in (KeyPoint, Rectangle)}
_TOLERANCE_PERCENT = 1e-6

# More than anybody leaves pending would hold up everyone else.
_MOST_BOXES = 20
_MOST_REGIONS: dict[type[Region], int] = {KeyPoint: MOST_CLICKS, Rectangle: _MOST_BOXES}

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One object that is asked for, and what its mask needs to be rendered.

    object_key: what these clicks have in common with the next of the same object; None where nothing says so.
    region: the click or box that was set last: label, image, page and size. key_points: all clicks in the order of the
    request, with their signs; none for a box. controls: the tags that the mask can go to, one of a kind. image: the one
    that they lie on. drafted: the regions of the annotator's drafts.
    """

    object_key: ObjectKey | None
    region: Region
    key_points: tuple[KeyPoint, ...]
    controls: tuple[Control, ...]
    image: TaskImage
    drafted: tuple[DraftRegion, ...]

    @property
    def names_object(self) -> bool:
        """Whether there is a positive click or a box."""
        return not self.key_points or any(point.is_positive is not False for point in self.key_points)

    def clicks(self, width: int, height: int) -> list[Click]:
        """The clicks in pixels of the image. Raises InvalidClicks for a point outside of it."""
        return [
            Click(
                x=_clamp_percent("x", point.value.x) / 100 * width,
                y=_clamp_percent("y", point.value.y) / 100 * height,
                positive=point.is_positive is not False,
            )
            for point in self.key_points
        ]

    def in_pixels(self, size: tuple[int, int]) -> PixelPrompt:
        """The same in pixels of an image of this ``(H, W)``. Raises InvalidClicks for a point outside of it."""
        height, width = size
        return PixelPrompt(self.clicks(width, height), self.box(width, height))

    def box(self, width: int, height: int) -> Box | None:
        """The box in pixels of the image, what sticks out cut off; None where the prompt is clicks."""
        if not isinstance(self.region, Rectangle):
            return None
        value = self.region.value
        left, right = (min(max(x, 0.0), 100.0) / 100 * width for x in (value.x, value.x + value.width))
        top, bottom = (min(max(y, 0.0), 100.0) / 100 * height for y in (value.y, value.y + value.height))
        return Box(left, top, right, bottom)


def parse_prompts(request: PredictRequest) -> list[Prompt]:
    """The prompts of an interactive request: one for all clicks, or one for each box, all of one image. None where it
    asks for nothing that we give, with a line in the log.

    Raises InvalidRequest where the task, the regions or the labelling configuration do not follow the protocol.
    """
    if request.params.context is None or not request.tasks:
        raise InvalidRequest("an interactive request needs a context and one task")
    task = request.tasks[0]
    regions = _parse_regions(request.params.context.result)
    drafted = _parse_drafted(task)
    key_points = tuple(_restore_sign(region, drafted) for region in regions if isinstance(region, KeyPoint))
    if not regions:
        logger.info("empty result: no key point and no rectangle in the context")
        return []
    reason = _find_refusal(regions)
    if reason is not None:
        logger.warning("empty result: %s", reason)
        return []
    last = regions[-1]
    config = parse_label_config(request.label_config).for_task(task.data)
    found = (config.find_answer_control(tag, last.to_name, last.value.labels[0]) for tag in ANSWER_TAGS)
    controls = tuple(control for control in found if control is not None)
    if not controls:
        logger.warning("empty result: %s", config.explain_no_answer(last.to_name, last.value.labels[0]))
        return []
    reference = config.find_image(last.to_name).find_reference(task.data, last.item_index or 0)
    image = TaskImage(reference, task.id)
    object_key = _find_object_key(request, regions[0])
    asked = [last] if key_points else regions
    return [Prompt(object_key, region, key_points, controls, image, drafted) for region in asked]


def _parse_regions(context: Sequence[dict[str, object]]) -> list[Region]:
    """The regions of the context with the type, labels, image and page of the last one; none where it holds none that
    we know. Raises InvalidRequest."""
    kinds = [_REGION_KINDS.get(str(region.get("type"))) for region in context]
    for kind, most in _MOST_REGIONS.items():
        if kinds.count(kind) > most:
            raise InvalidRequest(
                f"the context has {kinds.count(kind)} regions of type {kind.result_type}, but at most {most} are "
                "answered at once: accept or reject some"
            )
    try:
        known = [kind.model_validate(region) for kind, region in zip(kinds, context, strict=True) if kind is not None]
    except ValidationError as error:
        raise InvalidRequest(f"a region of the context is not complete: {render_problem(error)}") from None
    if context and not known:
        types = sorted({str(region.get("type")) for region in context})
        logger.warning("no answer for regions of type %s: click with KeyPointLabels or RectangleLabels", types)
    return [region for region in known if _find_subject(region) == _find_subject(known[-1])]


def _parse_drafted(task: Task) -> tuple[DraftRegion, ...]:
    """The regions of the drafts; what is none that we know, such as a relation, is passed over."""
    regions = []
    for region in (region for draft in task.drafts for region in draft.result if isinstance(region, dict)):
        with contextlib.suppress(ValidationError):
            regions.append(DraftRegion.model_validate(region))
    return tuple(regions)


def _find_subject(region: Region) -> tuple[object, ...]:
    return type(region), region.value.labels, region.to_name, region.item_index


def _find_refusal(regions: Sequence[Region]) -> str | None:
    """Why nothing can be answered; None where something can."""
    if regions[-1].image_rotation != 0:
        return f"the image is rotated by {regions[-1].image_rotation:g} degrees; turn it back"
    if any(isinstance(region, Rectangle) and region.value.rotation % 360 for region in regions):
        return "a rectangle is rotated; draw it upright"
    return None


def _find_object_key(request: PredictRequest, first: Region) -> ObjectKey | None:
    """Project, task, label and first region: they stay while an object is refined. None where the region has no id."""
    if not first.id:
        return None
    return ObjectKey(str(request.project), str(request.tasks[0].id), first.value.labels[0], first.id)


def _restore_sign(point: KeyPoint, drafted: Sequence[DraftRegion]) -> KeyPoint:
    """After a reload of the page key points come without their sign; the draft they come from still has it."""
    if point.is_positive is not None:
        return point
    signs = {region.id: region.is_positive for region in drafted}
    return point.model_copy(update={"is_positive": signs.get(point.id)})


def _clamp_percent(axis: str, percent: float) -> float:
    if not -_TOLERANCE_PERCENT <= percent <= 100 + _TOLERANCE_PERCENT:
        raise InvalidClicks(f"a key point lies at {axis} = {percent} percent: it must be within 0 and 100")
    return min(max(percent, 0.0), 100.0)
