"""CVAT's protocol for interactors, that of a nuclio dashboard with one function.

CVAT asks for the function before each click, and sends the frame with it; it names no task and no user. So images are
known by their pixels alone, and no click is ever taken for a newer one of the same object: CVAT itself sends one at a
time. In what order the points were set it does not say either; `order_store.py` remembers.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from backend.cvat.answer import compress, render_mask, render_proposals, render_shapes
from backend.cvat.function import NAME, describe_function
from backend.cvat.order_store import OrderStore
from backend.cvat.payload import InvocationRequest, ProposeRequest
from backend.cvat.port import PREFIX
from backend.cvat.proposing import find_proposals
from backend.engines.background import EngineSource
from backend.http.limits import HttpLimits
from backend.http.peers import Peers
from backend.http.request import Outcome, RequestRecord, current_record, parse_body
from backend.images.cache import TaskImage
from backend.scheduling.clicks import ClickService, PixelPrompt
from backend.scheduling.placing import place_clicks
from backend.settings import Settings
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.types import Segmentation, Timings

_NAME_HEADER = "x-nuclio-function-name"
_ORDER_FOLDER = "cvat-clicks"
"""In the folder of the attention cache."""

_NOT_FOR_A_STATUS_LINE = re.compile(r"[^ -~]+")
_LONGEST_REASON = 300


class CvatRoutes:
    """What CVAT's endpoints answer; safe under threads."""

    def __init__(
        self,
        settings: Settings,
        limits: HttpLimits,
        source: EngineSource,
        clicks: ClickService,
        peers: Peers | None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._source = source
        self._clicks = clicks
        self._peers = peers
        self._orders = OrderStore(settings.disk_cache_folder / _ORDER_FOLDER if settings.disk_cache_mib else None)

    def create_blueprint(self) -> Blueprint:
        """The endpoints; those that only describe the function answer at once."""
        blueprint = Blueprint("cvat", __name__, url_prefix=PREFIX)
        blueprint.add_url_rule("/api/functions", view_func=self.list_functions, methods=["GET"])
        blueprint.add_url_rule("/api/functions/<function_id>", view_func=self.get_function, methods=["GET"])
        blueprint.add_url_rule("/api/function_invocations", view_func=self.invoke, methods=["POST"])
        blueprint.add_url_rule("/", view_func=self.segment, methods=["POST"])
        blueprint.add_url_rule("/propose", view_func=self.propose, methods=["POST"])
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
        record = current_record()
        with self._clicks.queue.admit():
            asked = parse_body(InvocationRequest, self._limits, keep=self._peers is not None)
            forwarded = None if self._peers is None else self._peers.forward(_find_key(asked), record)
            if forwarded is not None:
                return forwarded
            found = self._find_mask(asked, record)
            record.outcome = Outcome.MASK if found.mask.any() else Outcome.EMPTY
            with record.measure("encode"):
                shapes = (asked.answer or self._settings.cvat_answer) == "shapes"
                return _render(render_shapes(found.mask, found.score) if shapes else render_mask(found.mask))

    def propose(self) -> Response:
        """Objects of a frame that are like those of annotated ones; asked by our own agent, not by CVAT."""
        record = current_record()
        with self._clicks.queue.admit():
            asked = parse_body(ProposeRequest, self._limits)
            found = find_proposals(self._clicks, asked, record)
            with record.measure("encode"):
                return _render(render_proposals(found, polygons=asked.polygons))

    def _find_mask(self, asked: InvocationRequest, record: RequestRecord) -> Segmentation:
        with self._clicks.queue.join(None, record) as ticket:
            # CVAT's server turns a frame by whatever its file says, and sends the file as it is.
            frame = TaskImage(f"data:;base64,{asked.image}", orientation=Orientation.FILE)
            picture = self._clicks.fetch(frame, ticket)
            box = asked.box(picture.size)
            if box is None and not asked.clicks:
                # CVAT's page asks so where the last point was taken back. It has no use for an error then.
                return Segmentation(np.zeros(picture.size, bool), 0.0, Timings(0.0, 0.0))
            clicks = place_clicks(self._orders.restore(picture, asked.clicks), picture.size)
            (found,) = self._clicks.segment(picture, [PixelPrompt(clicks, box)], ticket)
            return found

    def _describe(self) -> dict[str, object]:
        return describe_function(self._source.status().state, self._settings.cvat_port or self._settings.port)


def _find_key(asked: InvocationRequest) -> str:
    """Of the frame, by its file: CVAT sends the same one with every click on it."""
    return f"cvat {hashlib.blake2b(asked.image.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"


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
