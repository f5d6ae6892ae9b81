"""A nuclio function that forwards CVAT's requests to this server; the standard library is all it needs.

SERVER_URL: the server's address as the function reaches it. SERVER_TIMEOUT_SECONDS: longest wait for its answer, 110
where it is not set. Where the server asks for credentials, they are in M2N2_BASIC_AUTH_USER and
M2N2_BASIC_AUTH_PASSWORD here as there.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT_SECONDS = 110.0
"""The server answers within 90 s that it has too much to do; CVAT waits 120 s."""


def init_context(context: Any) -> None:
    """Called once by each of nuclio's workers."""
    url = os.environ.get("SERVER_URL")
    if not url:
        raise RuntimeError("SERVER_URL is not set: give the server's address in the function's environment")
    context.user_data.url = f"{url.rstrip('/')}/cvat/"
    context.user_data.timeout_seconds = float(os.environ.get("SERVER_TIMEOUT_SECONDS", _TIMEOUT_SECONDS))
    context.user_data.headers = {"Content-Type": "application/json", **_read_credentials()}


def handler(context: Any, event: Any) -> Any:
    """The server's answer, whatever its status; 504 where it does not answer in time, 502 where it cannot be asked."""
    body = event.body if isinstance(event.body, bytes) else json.dumps(event.body).encode()
    request = urllib.request.Request(context.user_data.url, body, context.user_data.headers)
    try:
        with urllib.request.urlopen(request, timeout=context.user_data.timeout_seconds) as response:
            return _respond(context, response.status, response.read())
    except urllib.error.HTTPError as error:
        answer = error.read()
        # CVAT shows its user nothing but the status.
        context.logger.error_with("the server refuses", status=error.code, answer=answer.decode(errors="replace"))
        return _respond(context, error.code, answer)
    except (OSError, http.client.HTTPException) as error:
        status = 504 if isinstance(getattr(error, "reason", error), TimeoutError) else 502
        context.logger.error_with("the server gives no answer", url=context.user_data.url, error=str(error))
        message = f"the server gives no answer: {error}"
        return _respond(context, status, json.dumps({"error": {"type": "NoAnswer", "message": message}}).encode())


def _respond(context: Any, status: int, body: bytes) -> Any:
    # As text: bytes would go to nuclio in base64.
    return context.Response(
        body=body.decode(errors="replace"), headers={}, content_type="application/json", status_code=status
    )


def _read_credentials() -> dict[str, str]:
    user, password = os.environ.get("M2N2_BASIC_AUTH_USER"), os.environ.get("M2N2_BASIC_AUTH_PASSWORD")
    if not (user and password):
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
