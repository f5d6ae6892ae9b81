"""Desk 1: Label Studio's protocol for ML backends (1.23). Its payloads <-> clicks and masks.

Label Studio sends every key point of an object with each click, so that each answer follows from its request alone.
Its user interface shows none of our errors: a request that asks for nothing we give has an empty result, and what a
person must change is named in the log.
"""

from __future__ import annotations

import dataclasses
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify
from pydantic import Field, FiniteFloat, PositiveInt, ValidationError

from backend import brush_rle
from backend.images import ImageFetcher
from backend.label_config import parse_label_config
from backend.payload import Payload, parse_body, render_problem
from m2n2_engine.errors import InvalidClicks, InvalidRequest
from m2n2_engine.types import Click, Mask, Segmenter

_KEY_POINT_TYPE = "keypointlabels"
_TOLERANCE_PERCENT = 1e-6

logger = logging.getLogger(__name__)


class SetupRequest(Payload):
    """Body of /setup. It is sent on every page load and carries a token: nothing of it is used, kept or logged."""


class DraftRegion(Payload):
    """A region as it was autosaved; the only place where the sign of a restored key point survives."""

    id: str = ""
    is_positive: bool | None = None


class Draft(Payload):
    """Regions of an annotation that is not submitted yet."""

    result: tuple[DraftRegion, ...] = ()


class Task(Payload):
    """A task, of which only the image and the drafts matter. Interactive requests carry one."""

    data: dict[str, Any]
    drafts: tuple[Draft, ...] = ()


class KeyPointValue(Payload):
    """Place of a key point in percent of the image's width and height, and its label."""

    x: FiniteFloat
    y: FiniteFloat
    keypointlabels: list[str] = Field(min_length=1)


class KeyPoint(Payload):
    """A region of type keypointlabels. Sizes are those of the upright image, in pixels, rotation is in degrees."""

    value: KeyPointValue
    to_name: str
    id: str = ""
    is_positive: bool | None = None
    original_width: PositiveInt | None = None
    original_height: PositiveInt | None = None
    image_rotation: float = 0

    @property
    def positive(self) -> bool:
        """Whether the point belongs to the object; it does where nothing says otherwise."""
        return self.is_positive is not False

    @property
    def label(self) -> str:
        """The label that was selected when the point was set."""
        return self.value.keypointlabels[0]


class Context(Payload):
    """Every region of the type, label and image that was clicked last."""

    result: list[dict[str, Any]]


class Params(Payload):
    """What came with the request: a context if a person clicked, none for batch predictions."""

    context: Context | None = None


class PredictRequest(Payload):
    """Body of /predict."""

    tasks: list[Task]
    label_config: str = ""
    params: Params = Params()


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """All clicks of one object, and where its mask goes.

    key_points: those of the label, in the order of the request, with their signs. brush_name: the control that the
    mask belongs to. image_reference: as it stands in the task's data.
    """

    key_points: tuple[KeyPoint, ...]
    brush_name: str
    image_reference: str

    @property
    def last(self) -> KeyPoint:
        """The point that was set last; it says what is asked for."""
        return self.key_points[-1]


def create_blueprint(segmenter: Segmenter, images: ImageFetcher) -> Blueprint:
    """Label Studio's endpoints but /health."""
    blueprint = Blueprint("label_studio", __name__)

    def model_version() -> str:
        return str(segmenter.describe()["model_version"])

    @blueprint.post("/setup")
    def setup() -> Response:
        parse_body(SetupRequest)
        return jsonify(model_version=model_version())

    @blueprint.get("/versions")
    def versions() -> Response:
        return jsonify(versions=[model_version()])

    @blueprint.post("/webhook")
    def webhook() -> tuple[str, int]:
        # Nothing is trained, so no event matters; but an error would show up inside a user's submit.
        return "", 204

    @blueprint.post("/predict")
    def predict() -> Response:
        request = parse_body(PredictRequest)
        if request.params.context is None:
            # One empty list a task is the one answer that makes Label Studio store nothing.
            return jsonify(results=[[] for _ in request.tasks])
        prompt = parse_prompt(request)
        if prompt is None:
            return jsonify(render_answer([], 0.0, model_version()))
        return answer(prompt)

    def answer(prompt: Prompt) -> Response:
        started = time.perf_counter()
        image = images.fetch_image(prompt.image_reference)
        height, width = image.shape[:2]
        fetched = time.perf_counter()
        shape = find_answer_shape(prompt.last, (height, width), images.max_pixels)
        segmentation = segmenter.segment(image, parse_clicks(prompt.key_points, width, height))
        segmented = time.perf_counter()
        mask = resize_mask(segmentation.mask, shape)
        result = [render_region(prompt, mask, segmentation.score)] if mask.any() else []
        response = jsonify(render_answer(result, segmentation.score, model_version()))
        response.headers["Server-Timing"] = render_server_timing(
            image=fetched - started,
            prepare=segmentation.timings.prepare_seconds,
            clicks=segmentation.timings.clicks_seconds,
            encode=time.perf_counter() - segmented,
        )
        return response

    return blueprint


def parse_prompt(request: PredictRequest) -> Prompt | None:
    """The prompt of an interactive request; None where it asks for nothing that we give, with a line in the log.

    Raises InvalidRequest where the task, the key points or the labelling configuration do not follow the protocol.
    """
    key_points = parse_key_points(request)
    if not any(point.positive for point in key_points):
        logger.info("empty result: no positive key point in the context")
        return None
    last = key_points[-1]
    if last.image_rotation != 0:
        logger.warning("empty result: the image is rotated by %g degrees; turn it back", last.image_rotation)
        return None
    config = parse_label_config(request.label_config)
    brush_name = config.find_brush(last.to_name, last.label)
    if brush_name is None:
        logger.warning(
            "empty result: the labelling configuration has no BrushLabels with toName=%r and a Label %r; add it",
            last.to_name,
            last.label,
        )
        return None
    key = config.find_data_key(last.to_name)
    reference = request.tasks[0].data.get(key)
    if not isinstance(reference, str) or not reference:
        raise InvalidRequest(f"the task's data has no image under {key!r}: the configuration and the data must agree")
    return Prompt(tuple(key_points), brush_name, reference)


def parse_key_points(request: PredictRequest) -> list[KeyPoint]:
    """Key points of the context with the label and image of the last one, signs restored. Raises InvalidRequest."""
    if request.params.context is None or not request.tasks:
        raise InvalidRequest("an interactive request needs a context and one task")
    try:
        regions = [region for region in request.params.context.result if region.get("type") == _KEY_POINT_TYPE]
        points = [KeyPoint.model_validate(region) for region in regions]
    except ValidationError as error:
        raise InvalidRequest(f"a key point of the context is not complete: {render_problem(error)}") from None
    return [
        _restore_sign(point, request.tasks[0].drafts)
        for point in points
        if (point.label, point.to_name) == (points[-1].label, points[-1].to_name)
    ]


def _restore_sign(point: KeyPoint, drafts: Sequence[Draft]) -> KeyPoint:
    """After a reload of the page key points come without their sign; the draft they come from still has it."""
    if point.is_positive is not None:
        return point
    signs = {region.id: region.is_positive for draft in drafts for region in draft.result}
    return point.model_copy(update={"is_positive": signs.get(point.id)})


def parse_clicks(key_points: Sequence[KeyPoint], width: int, height: int) -> list[Click]:
    """Percent of the image -> fractional pixels. Raises InvalidClicks for a point outside of it."""
    return [
        Click(
            x=_clamp_percent("x", point.value.x) / 100 * width,
            y=_clamp_percent("y", point.value.y) / 100 * height,
            positive=point.positive,
        )
        for point in key_points
    ]


def _clamp_percent(axis: str, percent: float) -> float:
    if not -_TOLERANCE_PERCENT <= percent <= 100 + _TOLERANCE_PERCENT:
        raise InvalidClicks(f"a key point lies at {axis} = {percent} percent: it must be within 0 and 100")
    return min(max(percent, 0.0), 100.0)


def find_answer_shape(point: KeyPoint, image_shape: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """(H, W) that Label Studio draws the mask at: the size it gives, or the image's. Raises InvalidRequest."""
    shape = (point.original_height or image_shape[0], point.original_width or image_shape[1])
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


def render_region(prompt: Prompt, mask: Mask, score: float) -> dict[str, Any]:
    """A mask (H, W) as a brush region. Its id is new, so that accepting it replaces no other region."""
    height, width = mask.shape
    return {
        "id": uuid.uuid4().hex,
        "from_name": prompt.brush_name,
        "to_name": prompt.last.to_name,
        "type": "brushlabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "readonly": False,
        "value": {"format": "rle", "rle": brush_rle.encode(mask), "brushlabels": [prompt.last.label]},
    }


def render_answer(result: list[dict[str, Any]], score: float, model_version: str) -> dict[str, Any]:
    """Body of an interactive answer; no region in ``result`` clears the pending suggestion."""
    return {"results": [{"result": result, "score": score, "model_version": model_version}]}


def render_server_timing(**seconds: float) -> str:
    """Value of the Server-Timing header, in milliseconds."""
    return ", ".join(f"{name};dur={duration * 1000:.1f}" for name, duration in seconds.items())
