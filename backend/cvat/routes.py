"""Desk 2: CVAT's protocol for interactors, that of a nuclio dashboard with one function.

CVAT asks for the function before each click, and sends the frame with it; it names no task and no user. So images are
known by their pixels alone, and no click is ever taken for a newer one of the same object: CVAT itself sends one at a
time. In what order the points were set it does not say either; `click_order.py` remembers.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from backend.cvat.answer import compress, render_mask, render_shapes
from backend.cvat.click_order import ClickOrder
from backend.cvat.function import NAME, describe_function
from backend.cvat.payload import InvocationRequest
from backend.cvat.port import PREFIX
from backend.engines.readiness import read_readiness
from backend.http import timings
from backend.http.body import parse_body
from backend.images.fetcher import ImageFetcher, TaskImage
from backend.scheduling.clicks import QueuedSegmenter
from backend.scheduling.queue import ClickQueue
from backend.settings import Settings
from m2n2_engine.image_digest import OncePerImage
from m2n2_engine.types import Image, Mask, Segmenter

_NAME_HEADER = "x-nuclio-function-name"
_RENDERERS = {"mask": render_mask, "shapes": render_shapes}
_NOT_FOR_A_STATUS_LINE = re.compile(r"[^ -~]+")
_LONGEST_REASON = 300


class CvatDesk:
    """What CVAT's endpoints answer; safe under threads."""

    def __init__(self, settings: Settings, segmenter: Segmenter, images: ImageFetcher, queue: ClickQueue) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self._images = images
        self._queue = queue
        self._queued = QueuedSegmenter(segmenter, queue)
        # As long as the frame is kept decoded.
        self._orders = OncePerImage(_make_order)

    def create_blueprint(self) -> Blueprint:
        """The endpoints; those that only describe the function answer at once."""
        blueprint = Blueprint("cvat", __name__, url_prefix=PREFIX)
        blueprint.add_url_rule("/api/functions", view_func=self.list_functions, methods=["GET"])
        blueprint.add_url_rule("/api/functions/<function_id>", view_func=self.get_function, methods=["GET"])
        blueprint.add_url_rule("/api/function_invocations", view_func=self.invoke, methods=["POST"])
        blueprint.add_url_rule("/", view_func=self.segment, methods=["POST"])
        blueprint.after_request(_tell_in_status_line)
        return blueprint

    def list_functions(self) -> Response:
        """The one function there is, by its name."""
        return jsonify({NAME: self._describe()})

    def get_function(self, function_id: str) -> Response:
        """The function of that name."""
        _check_name(function_id)
        return jsonify(self._describe())

    def invoke(self) -> Response:
        """The same as `segment`, for CVAT's invoke method "dashboard"."""
        _check_name(request.headers.get(_NAME_HEADER, ""))
        return self.segment()

    def segment(self) -> Response:
        """The mask of the object that is asked for. Raises Busy where too many are under way."""
        with self._queue.admit():
            asked = parse_body(InvocationRequest)
            mask = self._find_mask(asked)
            with timings.measure("encode"):
                return _render(_RENDERERS[asked.answer or self._settings.cvat_answer](mask))

    def _find_mask(self, asked: InvocationRequest) -> Mask:
        name = TaskImage(f"data:;base64,{asked.image}", None)
        with self._queue.join(None, name) as ticket:
            with timings.measure("fetch"):
                image = self._images.fetch_image(name.reference)
            height, width = image.shape[:2]
            box = asked.box(width, height)
            clicks = self._orders.find(image).restore(asked.clicks)
            self._queued.prepare(ticket, image)
            return self._queued.segment(ticket, image, clicks, box).mask

    def _describe(self) -> dict[str, object]:
        readiness = read_readiness(self._segmenter.describe())
        return describe_function(readiness, self._settings.cvat_port or self._settings.port)


def _make_order(image: Image) -> ClickOrder:
    return ClickOrder()


def _check_name(name: str) -> None:
    if name != NAME:
        raise NotFound(f"there is no function {name!r} here, only {NAME!r}; it is named in {_NAME_HEADER} or the path")


def _render(body: bytes) -> Response:
    response = Response(body, content_type="application/json", headers={"Vary": "Accept-Encoding"})
    if request.accept_encodings["gzip"]:
        response.data = compress(body)
        response.content_encoding = "gzip"
    return response


def _tell_in_status_line(response: Response) -> Response:
    """CVAT shows its user the status line of an error and nothing of the body."""
    if response.status_code >= 400:
        message = _NOT_FOR_A_STATUS_LINE.sub(" ", response.get_json()["error"]["message"])
        response.status = f"{response.status_code} {message[:_LONGEST_REASON]}"
    return response
