"""A request: its body as a model of its protocol, and what is noted of it while it is served.

What is noted is told when the request is done: in the log, a header and the metrics. No body, header, query or token
gets into the log.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TypeVar

from flask import Flask, Response, g, request
from gunicorn.http.errors import NoMoreData, ParseException
from prometheus_client import CollectorRegistry, Counter, Histogram
from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge

from backend.errors import InvalidRequest
from backend.http.limits import HttpLimits, check_json
from m2n2_engine.types import NEVER, Deadline

MOST_CLICKS = 200
"""Points in one list of a request; more than anybody sets for one object would hold up everyone else."""


FORWARDED_HEADER = "X-M2N2-Forwarded-By"
"""Marks a request that another server has passed on, see `peers`; its value is that server's name."""

_HEADER = "X-Request-ID"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# From a click on a resident image to a first click on a slow machine.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)

logger = logging.getLogger(__name__)

_thread = threading.local()


class Outcome(enum.StrEnum):
    """What came of a click: a mask, an answer without one, an answer without one because a newer click of the object
    had arrived, or an error of the status 4xx or 5xx."""

    MASK = "mask"
    EMPTY = "empty"
    OVERTAKEN = "overtaken"
    REFUSED = "refused"
    FAILED = "failed"


class RequestRecord:
    """One request.

    id: the client's X-Request-ID where it is one plain word, else a new one. deadline: of its answer. seconds: how long
    its parts took, by their names. error_kind: what it was refused for. is_batch: where clicks are taken, whether it is
    none. is_forwarded: whether another server answered it, which counts it. outcome: of a click that was answered.
    """

    def __init__(self, request_id: str = "", deadline: Deadline = NEVER) -> None:
        self.id = request_id if _SANE_ID.fullmatch(request_id) else uuid.uuid4().hex
        self.deadline = deadline
        self.seconds: dict[str, float] = {}
        self.error_kind: str | None = None
        self.is_batch = False
        self.is_forwarded = False
        self.outcome = Outcome.EMPTY
        self._started = time.perf_counter()

    @property
    def elapsed_seconds(self) -> float:
        """Time since the request began to be served."""
        return time.perf_counter() - self._started

    def add(self, part: str, seconds: float) -> None:
        """Note that a part took so long; what was noted for it before is added to."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Note how long the block takes, also where it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - started)


def current_record() -> RequestRecord:
    """That of the request in hand. For what the routes call, hand it on as an argument."""
    record: RequestRecord = g.record
    return record


def note_request(arrival: float, refusal: Exception | None = None) -> None:
    """To be called by a server on the thread that will serve a request.

    Args:
        arrival: When its first byte arrived, by ``time.monotonic``.
        refusal: What it is answered with; its body was not read to the end.
    """
    _thread.noted = arrival, refusal


class RequestRecorder:
    """Records the requests of one application.

    answer_seconds: from the first byte of a request until its deadline. registry: where its metrics are told.
    platforms: whose clicks an endpoint takes, by its URL rule.
    """

    def __init__(self, answer_seconds: float, registry: CollectorRegistry, platforms: Mapping[str, str]) -> None:
        self._answer_seconds = answer_seconds
        self._platforms = platforms
        self._requests = Counter("m2n2_requests", "Requests by path and status.", ["path", "status"], registry=registry)
        self._errors = Counter("m2n2_errors", "Errors by kind.", ["kind"], registry=registry)
        labels = ["platform", "outcome"]
        self._clicks = Counter("m2n2_clicks", "Clicks by what came of them.", labels, registry=registry)
        for platform in set(platforms.values()):
            for outcome in Outcome:
                # From 0 on, so that the first one counts as an increase.
                self._clicks.labels(platform, outcome)
        self._request_seconds = Histogram(
            "m2n2_request_seconds", "Time of a request.", ["path", "kind"], buckets=_SECONDS, registry=registry
        )
        self._stage_seconds = Histogram(
            "m2n2_stage_seconds", "Time of a click by stage.", ["stage"], buckets=_SECONDS, registry=registry
        )

    def register(self, app: Flask) -> None:
        """Record each request of the app, from before it is served until it is answered."""
        app.before_request(self._begin)
        app.after_request(self._finish)

    def _begin(self) -> None:
        # A server that does not tell when a request arrived, such as a test client, serves it at once.
        arrival, refusal = _thread.__dict__.pop("noted", None) or (time.monotonic(), None)
        g.record = RequestRecord(request.headers.get(_HEADER, ""), Deadline(arrival + self._answer_seconds))
        if refusal is not None:
            raise refusal

    def _finish(self, response: Response) -> Response:
        record = current_record()
        response.headers[_HEADER] = record.id
        if record.seconds:
            response.headers["Server-Timing"] = render_server_timing(record.seconds)
        self._log(record, response.status_code)
        self._count(record, response.status_code)
        return response

    def _log(self, record: RequestRecord, status: int) -> None:
        milliseconds = record.elapsed_seconds * 1000
        logger.info(
            "%s %r %d %.0f ms %s %s%s",
            request.method,
            request.path,
            status,
            milliseconds,
            request.remote_addr,
            record.id,
            "".join(f" {part}={seconds * 1000:.0f}" for part, seconds in record.seconds.items()),
            extra={
                "fields": {
                    "method": request.method,
                    "path": request.path,
                    "status": status,
                    "duration_ms": round(milliseconds, 1),
                    "client": request.remote_addr,
                    "stages_ms": {part: round(seconds * 1000, 1) for part, seconds in record.seconds.items()},
                }
            },
        )

    def _count(self, record: RequestRecord, status: int) -> None:
        # The rule and not the path: whoever tries paths must not fill the memory with their names.
        path = request.url_rule.rule if request.url_rule else "none"
        self._requests.labels(path, str(status)).inc()
        platform = self._platforms.get(path) if request.method == "POST" else None
        kind = "other" if platform is None else _find_kind(record, status)
        self._request_seconds.labels(path, kind).observe(record.elapsed_seconds)
        if kind == "click" and platform is not None:
            outcome = Outcome.FAILED if status >= 500 else Outcome.REFUSED if status >= 400 else record.outcome
            self._clicks.labels(platform, outcome).inc()
        for part, seconds in record.seconds.items():
            self._stage_seconds.labels(part).observe(seconds)
        if record.error_kind is not None:
            self._errors.labels(record.error_kind).inc()


def _find_kind(record: RequestRecord, status: int) -> str:
    # Whoever passed the request on answers it where this server cannot.
    if record.is_forwarded or (status == 503 and FORWARDED_HEADER in request.headers):
        return "forwarded"
    return "batch" if record.is_batch else "click"


def render_server_timing(seconds: Mapping[str, float]) -> str:
    """Value of the Server-Timing header, in milliseconds."""
    return ", ".join(f"{part};dur={duration * 1000:.1f}" for part, duration in seconds.items())


# --- the body


class Payload(BaseModel):
    """Base of the models of a body and of its parts: what we do not use is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Model = TypeVar("Model", bound=Payload)


# One body at a time: parsing holds the interpreter, and others have to get at it in between.
_parsing = threading.Lock()


def parse_body(model: type[Model], limits: HttpLimits, *, keep: bool = False) -> Model:
    """The body of the current request, as JSON whatever its content type says.

    keep: whether ``request.get_data()`` gives its bytes afterwards.

    Raises InvalidRequest naming the first thing that is wrong, RequestEntityTooLarge above the limit of its path.
    """
    body = read_body(limits, keep=keep)
    try:
        with _parsing:
            check_json(body, limits.json_objects)
            return model.model_validate_json(body)
    except ValidationError as error:
        problem = render_problem(error)
    except InvalidRequest as error:
        problem = str(error)
    raise InvalidRequest(f"the body is not what {request.path} takes: {problem}")


def read_body(limits: HttpLimits, *, keep: bool = False) -> bytes:
    """The body of the current request.

    keep: as of `parse_body`.

    Raises RequestEntityTooLarge above the limit of its path, BadRequest and ClientDisconnected where it did not arrive
    whole.
    """
    limit = limits.find(request.path)
    if limit is None:
        raise LookupError(f"HttpLimits has no limit for bodies of {request.path}")
    if (request.content_length or 0) > limit.most_bytes:
        raise RequestEntityTooLarge(limit.refusal)
    request.max_content_length = limit.most_bytes
    try:
        body = request.get_data(cache=keep)
    except (ParseException, NoMoreData):
        raise BadRequest("the body is no sequence of chunks that ends") from None
    if request.content_length not in (None, len(body)):
        raise ClientDisconnected
    if request.content_length is None and len(body) == limit.most_bytes:
        # A body in chunks has no length to be refused by; it is cut off at the limit without a word.
        raise RequestEntityTooLarge(limit.refusal)
    return body


def render_problem(error: ValidationError) -> str:
    """Where the first problem lies and what it is, in one line without the value."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
