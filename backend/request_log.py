"""A name for every request and a line in the log for each; no body, header, query or token gets there."""

from __future__ import annotations

import logging
import re
import time
import uuid

from flask import Flask, Response, g, request

_HEADER = "X-Request-ID"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

logger = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Name each request of the app before it is served, send the name back and log the request when it is."""
    app.before_request(_begin)
    app.after_request(_finish)


def request_id() -> str:
    """The name of the current request: the client's X-Request-ID where it is one plain word, else a new one."""
    return str(g.request_id)


def _begin() -> None:
    given = request.headers.get(_HEADER, "")
    g.request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    response.headers[_HEADER] = request_id()
    logger.info(
        "%s %r %d %.0f ms %s %s",
        request.method,
        request.path,
        response.status_code,
        (time.perf_counter() - g.started) * 1000,
        request.remote_addr,
        request_id(),
    )
    return response
