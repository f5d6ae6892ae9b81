"""Basic authentication, where the settings ask for it."""

from __future__ import annotations

import hmac

from flask import Flask, request
from pydantic import SecretStr
from werkzeug.datastructures import Authorization, WWWAuthenticate
from werkzeug.exceptions import Unauthorized

# Label Studio sends its events without credentials, inside an annotator's submit; nothing is told or changed there.
_OPEN_PATHS = frozenset({"/webhook"})


class BasicAuth:
    """Answers 401 to every request without this user and password, but on /webhook."""

    def __init__(self, user: str, password: SecretStr) -> None:
        self._expected = _join(user, password.get_secret_value())

    def register(self, app: Flask) -> None:
        """Check every request of the application."""
        app.before_request(self._check)

    def admits(self, header: str | None) -> bool:
        """Whether an Authorization header names this user and password."""
        given = Authorization.from_header(header)
        credentials = _join(given.username or "", given.password or "") if given and given.type == "basic" else b""
        # In constant time, and user and password as one: an answer's time tells neither of them.
        return hmac.compare_digest(credentials, self._expected)

    def _check(self) -> None:
        if request.path not in _OPEN_PATHS and not self.admits(request.headers.get("Authorization")):
            raise Unauthorized(
                "user or password is missing or wrong: give those of M2N2_BASIC_AUTH_USER and "
                "M2N2_BASIC_AUTH_PASSWORD, in Label Studio under Settings > Model > Basic authentication, in CVAT as "
                "CVAT_NUCLIO_HOST=user:password@host",
                www_authenticate=WWWAuthenticate("basic", {"realm": "m2n2"}),
            )


def _join(user: str, password: str) -> bytes:
    return f"{user}:{password}".encode(errors="surrogatepass")
