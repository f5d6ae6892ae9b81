"""Bodies of requests -> models of their protocol."""

from __future__ import annotations

from typing import TypeVar

from flask import current_app, request
from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from backend.http.body_deadline import limit_reading
from m2n2_engine.errors import InvalidRequest

MOST_CLICKS = 200
"""Points in one list of a request; more than anybody sets for one object would hold up everyone else."""


class Payload(BaseModel):
    """Base of the models of a body and of its parts: what we do not use is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Model = TypeVar("Model", bound=Payload)


def parse_body(model: type[Model]) -> Model:
    """The body of the current request, as JSON whatever its content type says.

    Raises InvalidRequest naming the first thing that is wrong, RequestEntityTooLarge above the limit of the app,
    RequestTimeout where the body does not arrive within the app's BODY_TIMEOUT_SECONDS.
    """
    body = _read_body(current_app.config["BODY_TIMEOUT_SECONDS"])
    if request.content_length is None and len(body) == request.max_content_length:
        # A chunked body has no length to be refused by; it is cut off at the limit without a word.
        raise RequestEntityTooLarge
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(f"the body is not what {request.path} takes: {render_problem(error)}") from None


def _read_body(timeout_seconds: float) -> bytes:
    body = b""
    with limit_reading(request.environ.get("gunicorn.socket"), timeout_seconds) as has_passed:
        try:
            body = request.get_data(cache=False)
        except ClientDisconnected:
            if not has_passed.is_set():
                raise
    # gunicorn ends a body that is cut off without a word, if it came with its length.
    if has_passed.is_set() and len(body) != request.content_length:
        raise RequestTimeout("the body takes too long to arrive: raise M2N2_BODY_TIMEOUT_SECONDS")
    return body


def render_problem(error: ValidationError) -> str:
    """Where the first problem lies and what it is, in one line without the value."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
