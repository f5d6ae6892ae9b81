"""Answers to the events of Label Studio's newer interactive protocol, for images."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from backend.errors import InvalidRequest
from backend.http.request import Outcome, RequestRecord
from backend.images.cache import TaskImage
from backend.label_studio.answer import render_answer
from backend.label_studio.events.payload import find_name, parse_prompts
from backend.label_studio.label_config import ANSWER_TAGS, LabelConfig, parse_label_config
from backend.label_studio.payload import PREDICT, Context, PredictRequest, Task
from backend.label_studio.shapes.bitmask import encode
from backend.label_studio.tasks import find_images
from backend.scheduling.clicks import ClickService, PixelPrompt
from backend.scheduling.placing import extend_box, place_box, place_clicks, snap_box
from backend.scheduling.preparation import BackgroundPreparation

_TARGETS = (
    {"tag": "BitmaskLabels", "output": "mask"},
    {"tag": "RectangleLabels", "output": "bbox"},
    {"tag": "PolygonLabels", "output": "polygon"},
    {"tag": "VectorLabels", "output": "polygon"},
)
"""Tags of images; a page makes what a tag needs of the bitmask. Tags of videos are left out, for nothing is tracked."""

_MODEL_NAME = "M2N2"
_KEPT_PREPARED = 1000
"""Images that are known to be prepared. Here: more than memory and disk hold by default."""

_Names = dict[str, str]


class EventRoutes:
    """What `/predict` answers to events; safe under threads."""

    def __init__(self, clicks: ClickService, preparation: BackgroundPreparation) -> None:
        self._clicks = clicks
        self._preparation = preparation
        self._prepared = _Prepared()
        self._answers: dict[str, Callable[[PredictRequest, Context, RequestRecord], dict[str, Any]]] = {
            "capabilities": self._tell_capabilities,
            "prewarm": self._prewarm,
            PREDICT: self._predict,
            "release": self._release,
        }

    def answer(self, event: str, request: PredictRequest, context: Context, record: RequestRecord) -> dict[str, Any]:
        """The one prediction that an event is answered with.

        Raises InvalidRequest for an event that is none for images, and for a request that does not follow the protocol;
        what `ClickService` raises for an image and its mask.
        """
        answer = self._answers.get(event)
        if answer is None:
            raise InvalidRequest(
                f"the event {event[:40]!r} is not known here: this server does {', '.join(self._answers)}"
            )
        record.is_batch = event != PREDICT  # the others are no clicks
        return answer(request, context, record)

    def _tell_capabilities(self, request: PredictRequest, context: Context, record: RequestRecord) -> dict[str, Any]:
        model = {"name": _MODEL_NAME, "version": self._clicks.model_version}
        value = {"prompts": ["point", "box"], "targets": list(_TARGETS), "model_info": model}
        return self._render("capabilities", value, {})

    def _prewarm(self, request: PredictRequest, context: Context, record: RequestRecord) -> dict[str, Any]:
        """Have the image prepared in the background; the one frame that it has is told as cached once it is."""
        image, names = _find_image(request, context)
        is_ready = self._prepared.has(image)
        if not is_ready:
            self._preparation.add([image], is_opened=True, look_ahead=lambda: self._prepared.add(image))
        value = {"status": "ok", "cached": [0] * is_ready, "pending": [0] * (not is_ready)}
        return self._render("prewarm_ack", value, names)

    def _predict(self, request: PredictRequest, context: Context, record: RequestRecord) -> dict[str, Any]:
        prompts = parse_prompts(context)
        if not prompts.names_object:
            return render_answer([], 0.0, self._clicks.model_version)
        image, names = _find_image(request, context)
        with self._clicks.queue.join(None, record) as ticket:
            picture = self._clicks.fetch(image, ticket)
            clicks, box = place_clicks(prompts.clicks(picture.size), picture.size), None
            if prompts.boxes:
                height, width = picture.size
                value = prompts.boxes[-1].value
                xs = value.x / 100 * width, (value.x + value.width) / 100 * width
                ys = value.y / 100 * height, (value.y + value.height) / 100 * height
                box = extend_box(snap_box(place_box(xs, ys, picture.size), picture.size), clicks, picture.size)
            (found,) = self._clicks.segment(picture, [PixelPrompt(clicks, box)], ticket)
        if not found.mask.any():
            return render_answer([], 0.0, self._clicks.model_version)
        record.outcome = Outcome.MASK
        with record.measure("encode"):
            height, width = picture.size
            shown = {"imageDataURL": encode(found.mask), "width": width, "height": height}
            return self._render("bitmask", shown, names, found.score)

    def _release(self, request: PredictRequest, context: Context, record: RequestRecord) -> dict[str, Any]:
        """Give up what is held for the image alone; what the engine keeps goes by its budgets, as ever."""
        image, names = _find_image(request, context)
        self._prepared.drop(image)
        self._preparation.discard(image)
        self._clicks.release(image)
        return self._render("release_ack", {"status": "released"}, names)

    def _render(self, kind: str, value: dict[str, Any], names: _Names, score: float = 1.0) -> dict[str, Any]:
        item = {"id": uuid.uuid4().hex, "type": kind, "origin": "manual", **names, "value": value}
        return render_answer([item], score, self._clicks.model_version)


class _Prepared:
    """Images that were prepared in the background, the oldest forgotten first; safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Digests: a reference may be a whole picture.
        self._images: OrderedDict[bytes, None] = OrderedDict()

    def add(self, image: TaskImage) -> list[TaskImage]:
        """Note one; no image comes after it."""
        with self._lock:
            self._images[_digest(image)] = None
            if len(self._images) > _KEPT_PREPARED:
                self._images.popitem(last=False)
        return []

    def has(self, image: TaskImage) -> bool:
        """Whether one was noted."""
        with self._lock:
            return _digest(image) in self._images

    def drop(self, image: TaskImage) -> None:
        """Forget one."""
        with self._lock:
            self._images.pop(_digest(image), None)


def _digest(image: TaskImage) -> bytes:
    text = f"{image.task_id} {image.reference}".encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _find_image(request: PredictRequest, context: Context) -> tuple[TaskImage, _Names]:
    """The image of the one task, and the names that an answer for it has. Raises InvalidRequest where there is none.

    It is what the configuration's Image of that name shows, else what the data has by that name, else the first image
    of the configuration, else the first text of the data.
    """
    if not request.tasks:
        raise InvalidRequest("this event needs one task")
    task, to_name = request.tasks[0], find_name(context, "to_name")
    config = LabelConfig((), ())
    with contextlib.suppress(InvalidRequest):
        config = parse_label_config(request.label_config)
    named = dataclasses.replace(config, images=tuple(image for image in config.images if image.name == to_name))
    texts = [text for text in task.data.values() if isinstance(text, str) and text]
    found = [
        *find_images(task, named),
        *_wrap(task, task.data.get(to_name)),
        *find_images(task, config),
        *_wrap(task, *texts),
    ]
    if not found:
        raise InvalidRequest(f"the task's data has no image, under {to_name!r} or elsewhere: give it one")
    to_name = to_name or next((image.name for image in config.images), "")
    answers = (control.name for control in config.find_controls(ANSWER_TAGS) if to_name in control.to_names)
    return found[0], {"from_name": find_name(context, "from_name") or next(answers, ""), "to_name": to_name}


def _wrap(task: Task, *references: object) -> list[TaskImage]:
    return [TaskImage(reference, task.id) for reference in references if isinstance(reference, str) and reference]
