"""A request of Label Studio's -> prompts: the clicks and the box of each object that is asked for, in percent.

Label Studio sends every key point of an object with each click, so that the answer to clicks follows from their request
alone. Which boxes ask, and which box and which points are about one object, only requests before this one tell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backend.errors import InvalidRequest
from backend.http.request import MOST_CLICKS, render_problem
from backend.images.cache import TaskImage
from backend.label_studio.label_config import ANSWER_TAGS, Control, parse_label_config
from backend.label_studio.payload import DraftRegion, KeyPoint, PredictRequest, Rectangle, Region, Task
from backend.label_studio.pending.joining import (
    Asked,
    choose_boxes,
    explain_unusable,
    find_drafted_boxes,
    is_same_place,
    join_boxes,
    join_clicks,
)
from backend.label_studio.pending.memory import PendingRegions, Saved, Subject
from backend.scheduling.clicks import ObjectKey, PixelPrompt
from backend.scheduling.placing import extend_box, place_box, place_clicks, snap_box
from m2n2_engine.errors import InvalidClicks
from m2n2_engine.types import Click

_REGION_KINDS: dict[str, type[Region]] = {kind.result_type: kind for kind in (KeyPoint, Rectangle)}

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One object that is asked for, and what its mask needs to be rendered.

    object_key: what these clicks have in common with the next of the same object; None where nothing says so.
    region: the click or box that was set last: label, image, page and size. key_points: all clicks in the order of the
    request, with their signs; none for a box alone. controls: the tags that the mask can go to, one of a kind. image:
    the one that they lie on. drafted: the regions of the annotator's drafts. rectangle: the box; None for clicks alone.
    subject: what the page may still show of it is remembered by this. proposed: the regions on the page that this
    server proposed.
    """

    object_key: ObjectKey | None
    region: Region
    key_points: tuple[KeyPoint, ...]
    controls: tuple[Control, ...]
    image: TaskImage
    drafted: tuple[DraftRegion, ...]
    rectangle: Rectangle | None = None
    subject: Subject | None = None
    proposed: tuple[DraftRegion, ...] = ()

    @property
    def names_object(self) -> bool:
        """Whether there is a positive click or a box."""
        return self.rectangle is not None or any(point.is_positive is not False for point in self.key_points)

    def clicks(self, size: tuple[int, int]) -> list[Click]:
        """The clicks in pixels of an image of this ``(H, W)``, as `place_clicks` places them. Raises InvalidClicks."""
        height, width = size
        clicks = [
            Click(point.value.x / 100 * width, point.value.y / 100 * height, point.is_positive is not False)
            for point in self.key_points
        ]
        return place_clicks(clicks, size)

    def in_pixels(self, size: tuple[int, int]) -> PixelPrompt:
        """The same in pixels of an image of this ``(H, W)``: of the box what lies in the image, extended to positive
        clicks beside it. Raises InvalidClicks for a positive click far outside."""
        clicks = self.clicks(size)
        if self.rectangle is None:
            return PixelPrompt(clicks)
        height, width = size
        value = self.rectangle.value
        xs = value.x / 100 * width, (value.x + value.width) / 100 * width
        ys = value.y / 100 * height, (value.y + value.height) / 100 * height
        return PixelPrompt(clicks, extend_box(snap_box(place_box(xs, ys, size), size), clicks, size))


def parse_prompts(request: PredictRequest, pending: PendingRegions) -> list[Prompt]:
    """The prompts of an interactive request: one for all clicks, or one for each box, all of one image. None where it
    asks for nothing that we give, with a line in the log.

    Args:
        request: with a context.
        pending: What was asked before; what this request asks is added.

    Raises:
        InvalidRequest: The task, the regions or the labelling configuration do not follow the protocol.
        InvalidClicks: There is only a box, and no mask can be found in it.
    """
    if request.params.context is None or not request.tasks:
        raise InvalidRequest("an interactive request needs a context and one task")
    task = request.tasks[0]
    regions = _parse_regions(request.params.context.result)
    drafted = _parse_drafted(task)
    if not regions:
        logger.info("empty result: no key point and no rectangle in the context")
        return []
    last = regions[-1]
    if last.image_rotation != 0:
        logger.warning("empty result: the image is rotated by %g degrees; turn it back", last.image_rotation)
        return []
    config = parse_label_config(request.label_config).for_task(task.data)
    found = (config.find_answer_control(tag, last.to_name, last.value.labels[0]) for tag in ANSWER_TAGS)
    controls = tuple(control for control in found if control is not None)
    if not controls:
        logger.warning("empty result: %s", config.explain_no_answer(last.to_name, last.value.labels[0]))
        return []
    reference = config.find_image(last.to_name).find_reference(task.data, last.item_index or 0)
    image = TaskImage(reference, task.id)
    subject = Subject.of(request.project, image, request.label_config, last)
    asked = _find_objects(regions, drafted, config.controls, Saved.of(task, drafted), subject, pending)
    if not asked:
        return []
    # Of clicks the first of all, also where it is none of those that correct a box.
    is_box = isinstance(last, Rectangle)
    first = asked[0].region if is_box else next(region for region in regions if isinstance(region, KeyPoint))
    object_key = _find_object_key(request, first)
    proposed = _find_proposed(task, drafted)
    return [
        Prompt(object_key, one.region, one.points, controls, image, drafted, one.box, subject, proposed)
        for one in asked
    ]


def _find_objects(
    regions: Sequence[Region],
    drafted: Sequence[DraftRegion],
    controls: Sequence[Control],
    saved: Saved,
    subject: Subject,
    pending: PendingRegions,
) -> list[Asked]:
    """What is asked of each object, the last region being the newest; what asks is remembered. None where the newest
    box is turned, with a line in the log. Raises InvalidClicks."""
    points = [_restore_sign(region, drafted) for region in regions if isinstance(region, KeyPoint)]
    boxes = [region for region in regions if isinstance(region, Rectangle)]
    if isinstance(regions[-1], KeyPoint):
        in_drafts = find_drafted_boxes(drafted, controls, regions[-1])
        forgotten = [box for box in in_drafts if not pending.knows(subject, box)]
        asked = [join_clicks(points, [*forgotten, *pending.find_pending_boxes(subject, saved), *boxes])]
        pending.note(subject, points, saved)
        return asked
    chosen = choose_boxes(boxes, controls, pending.find_boxes(subject, saved), saved.finished)
    if not _can_answer(chosen[-1]):
        return []
    asked = join_boxes(chosen, points or pending.find_pending_points(subject, saved))
    pending.note(subject, chosen, saved)
    return asked


def note_answer(prompts: Sequence[Prompt], regions: Sequence[Mapping[str, Any]], pending: PendingRegions) -> None:
    """Have it remembered which regions prompts were answered with: who accepts these is done with what asked."""
    for prompt in prompts:
        if prompt.subject is not None:
            replaced = {region.id for region in (*prompt.drafted, *prompt.proposed)}
            answers = [region["id"] for region in regions if region["id"] not in replaced]
            asked = [prompt.region.id, *(point.id for point in prompt.key_points)]
            box = [] if prompt.rectangle is None else [prompt.rectangle.id]
            pending.note_answers(prompt.subject, [*asked, *box], answers)


def _can_answer(box: Rectangle) -> bool:
    """Whether a mask can be found in a box; where it is turned the log says why not. Raises InvalidClicks."""
    reason = explain_unusable(box)
    if reason is not None and not box.value.rotation % 360:
        raise InvalidClicks(reason)
    if reason is not None:
        logger.warning("empty result: %s", reason)
    return reason is None


def _parse_regions(context: Sequence[dict[str, object]]) -> list[Region]:
    """The regions of the context with the labels, image and page of the last one; none where it holds none that we
    know. Raises InvalidRequest."""
    kinds = [_REGION_KINDS.get(str(region.get("type"))) for region in context]
    if kinds.count(KeyPoint) > MOST_CLICKS:
        raise InvalidRequest(
            f"the context has {kinds.count(KeyPoint)} regions of type {KeyPoint.result_type}, but at most "
            f"{MOST_CLICKS} are answered at once: accept or reject some"
        )
    try:
        known = [kind.model_validate(region) for kind, region in zip(kinds, context, strict=True) if kind is not None]
    except ValidationError as error:
        raise InvalidRequest(f"a region of the context is not complete: {render_problem(error)}") from None
    if context and not known:
        types = sorted({str(region.get("type")) for region in context})
        logger.warning("no answer for regions of type %s: click with KeyPointLabels or RectangleLabels", types)
    return [region for region in known if is_same_place(region, known[-1])]


def _parse_drafted(task: Task) -> tuple[DraftRegion, ...]:
    """The regions of the drafts."""
    return _parse_saved(region for draft in task.drafts for region in draft.result)


def _find_proposed(task: Task, drafted: tuple[DraftRegion, ...]) -> tuple[DraftRegion, ...]:
    """The regions on the annotator's page that this server proposed: those of the drafts, and where nothing was saved
    yet, those of the prediction that the page begins with, its newest."""
    shown = drafted
    if not (task.drafts or task.annotations) and isinstance(task.predictions, list) and task.predictions:
        newest = max(task.predictions, key=_find_id)
        result = newest.get("result") if isinstance(newest, dict) else None
        shown = _parse_saved(result if isinstance(result, list) else [])
    return tuple(region for region in shown if region.is_proposal)


def _find_id(prediction: Any) -> int:
    found = prediction.get("id") if isinstance(prediction, dict) else None
    return found if isinstance(found, int) else -1


def _parse_saved(regions: Iterable[Any]) -> tuple[DraftRegion, ...]:
    """Regions as they were saved; what is none that we know, such as a relation, is passed over."""
    parsed = []
    for region in (region for region in regions if isinstance(region, dict)):
        with contextlib.suppress(ValidationError):
            parsed.append(DraftRegion.model_validate(region))
    return tuple(parsed)


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
