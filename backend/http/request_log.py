"""A name for every request and a line in the log for each; no body, header, query or token gets there."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping

from flask import Flask, Response, g, request

from backend.http import timings

_HEADER = "X-Request-ID"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

logger = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Name each request of the app before it is served, send its name and timings back and log it when it is."""
    app.before_request(_begin)
    app.after_request(_finish)


def request_id() -> str:
    """The name of the current request: the client's X-Request-ID where it is one plain word, else a new one."""
    return str(g.request_id)


def elapsed_seconds() -> float:
    """Time since the current request began to be served."""
    return float(time.perf_counter() - g.started)


def _begin() -> None:
    given = request.headers.get(_HEADER, "")
    g.request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    recorded = timings.recorded()
    response.headers[_HEADER] = request_id()
    if recorded:
        response.headers["Server-Timing"] = render_server_timing(recorded)
    milliseconds = elapsed_seconds() * 1000
    logger.info(
        "%s %r %d %.0f ms %s %s%s",
        request.method,
        request.path,
        response.status_code,
        milliseconds,
        request.remote_addr,
        request_id(),
        "".join(f" {stage}={seconds * 1000:.0f}" for stage, seconds in recorded.items()),
        extra={
            "fields": {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "duration_ms": round(milliseconds, 1),
                "client": request.remote_addr,
                "stages_ms": {stage: round(seconds * 1000, 1) for stage, seconds in recorded.items()},
            }
        },
    )
    return response


def render_server_timing(seconds: Mapping[str, float]) -> str:
    """Value of the Server-Timing header, in milliseconds."""
    return ", ".join(f"{stage};dur={duration * 1000:.1f}" for stage, duration in seconds.items())
