"""The page at /, its files, and its three requests: here is an image, make it ready, and what is there."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import Conflict, Gone, UnsupportedMediaType

from backend.http.limits import HttpLimits
from backend.http.request import RequestRecord, current_record, parse_body, read_body
from backend.images.cache import TaskImage
from backend.playground.access import HEADERS, check_visitor
from backend.playground.files import PageFiles
from backend.playground.images import HeldImages, HeldLimits, name_file
from backend.playground.payload import PrepareRequest, SegmentRequest, read_runs, write_runs
from backend.scheduling.clicks import ClickService, ObjectKey, Obsolete, PixelPrompt, Ticket
from m2n2_engine.types import Picture, Segmentation

PREFIX = "/playground"
UPLOAD_PATH, PREPARE_PATH, SEGMENT_PATH = f"{PREFIX}/images", f"{PREFIX}/prepare", f"{PREFIX}/segment"
_KINDS = {UPLOAD_PATH: "application/octet-stream", PREPARE_PATH: "application/json", SEGMENT_PATH: "application/json"}
"""Path -> content type of its bodies. Browsers ask before they send these to another site."""


class PlaygroundRoutes:
    """What the page's requests are answered; safe under threads. held: limits of what is kept for visitors."""

    def __init__(self, limits: HttpLimits, clicks: ClickService, held: HeldLimits | None = None) -> None:
        self._limits = limits
        self._clicks = clicks
        self._images = HeldImages(held)
        self._page = PageFiles("page")
        self._samples = PageFiles("samples")

    def create_blueprint(self) -> Blueprint:
        """All but the page itself, which shares its address with others."""
        blueprint = Blueprint("playground", __name__)
        blueprint.add_url_rule(f"{PREFIX}/<name>", view_func=self._page.answer, endpoint="file")
        blueprint.add_url_rule(f"{PREFIX}/samples/<name>", view_func=self._samples.answer, endpoint="sample")
        blueprint.add_url_rule(UPLOAD_PATH, view_func=self.upload, methods=["POST"])
        blueprint.add_url_rule(PREPARE_PATH, view_func=self.prepare, methods=["POST"])
        blueprint.add_url_rule(SEGMENT_PATH, view_func=self.segment, methods=["POST"])
        blueprint.after_request(_add_headers)
        return blueprint

    def show_page(self) -> Response:
        """The page."""
        return self._page.answer("index.html")

    def upload(self) -> Response:
        """Keep an image file for this visitor: its digest and its size. Raises InvalidImage, Busy."""
        visitor, record = _check_request(), current_record()
        with self._clicks.queue.admit():
            file = read_body(self._limits)
            digest = name_file(file)
            with self._clicks.queue.join(None, record) as ticket:
                height, width = self._decode(file, digest, ticket).size
            self._images.keep(visitor, digest, file)
        return jsonify(image=digest, width=width, height=height)

    def prepare(self) -> Response:
        """Make an image ready, so that its first click is answered at once."""
        visitor, record = _check_request(), current_record()
        with self._clicks.queue.admit():
            asked = parse_body(PrepareRequest, self._limits)
            with self._clicks.queue.join(None, record) as ticket:
                tier = self._clicks.prepare(self._find(visitor, asked.image, ticket), ticket)
        return jsonify(tier=tier)

    def segment(self) -> Response:
        """The mask of one object, or all sizes that its last mark may mean. Raises Gone, Conflict, Busy."""
        visitor, record = _check_request(), current_record()
        with self._clicks.queue.admit():
            asked = parse_body(SegmentRequest, self._limits)
            try:
                found = self._segment(visitor, asked, record)
            except Obsolete:
                raise Conflict("a newer click of this object has overtaken this one") from None
            with record.measure("encode"):
                return jsonify(masks=[{"runs": write_runs(each.mask), "score": each.score} for each in found])

    def _segment(self, visitor: str, asked: SegmentRequest, record: RequestRecord) -> list[Segmentation]:
        key = ObjectKey("playground", visitor, asked.image, asked.object)
        with self._clicks.queue.join(key, record) as ticket:
            picture = self._find(visitor, asked.image, ticket)
            start = None if asked.start is None else read_runs(asked.start, picture.size)
            prompt = PixelPrompt(asked.clicks(), asked.find_box(), start)
            if asked.sizes:
                return list(self._clicks.candidates(picture, prompt, ticket))
            return self._clicks.segment(picture, [prompt], ticket)

    def _find(self, visitor: str, digest: str, ticket: Ticket) -> Picture:
        file = self._images.find(visitor, digest)
        if file is None:
            raise Gone("this image is not kept here any more: send it again")
        return self._decode(file, digest, ticket)

    def _decode(self, file: bytes, digest: str, ticket: Ticket) -> Picture:
        return self._clicks.fetch(TaskImage(digest, file=file), ticket)


def _check_request() -> str:
    """The visitor, where the request is one of our page's."""
    visitor = check_visitor(request.headers, request.host)
    if request.mimetype != _KINDS[request.path]:
        raise UnsupportedMediaType(f"the body should be {_KINDS[request.path]}, not {request.mimetype or 'unnamed'}")
    return visitor


def _add_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
