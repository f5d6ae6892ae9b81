"""How this server shows Label Studio who it is.

A legacy token is sent as it is. A personal access token (a JWT) is only good for asking for access tokens, which live
for minutes; one is kept until shortly before it expires.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable

import requests
import urllib3
from pydantic import SecretStr
from requests.auth import AuthBase

from backend.errors import ImageUnavailable
from backend.net.download import TimeLimit, Timeouts, open_response
from m2n2_engine.config import MEBIBYTE

_JWT_PARTS = 3
_MARGIN_SECONDS = 30.0
_DEFAULT_LIFETIME_SECONDS = 60.0
_LONGEST_ANSWER_BYTES = MEBIBYTE
_CHECK_URL = "check LABEL_STUDIO_URL and that Label Studio runs"


class NoAuth(AuthBase):
    """Leaves a request as it is; requests would put the password of a .netrc file in place of nothing."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class HeaderAuth(AuthBase):
    """Puts this Authorization header on a request."""

    def __init__(self, header: str) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


def is_personal(key: str) -> bool:
    """Whether a token is a personal access token, and no legacy token."""
    return len(key.split(".")) == _JWT_PARTS


def ask_for_access_token(url: str, key: str, timeout_seconds: float) -> tuple[int, bytes]:
    """Exchange a personal access token for an access token: status and body of Label Studio's answer.

    Raises OSError, the errors of requests and urllib3, and ImageUnavailable where the time is over.
    """
    with (
        TimeLimit(timeout_seconds) as limit,
        open_response(
            f"{url}/api/token/refresh/",
            auth=NoAuth(),
            check=lambda _: None,
            timeouts=Timeouts(timeout_seconds, timeout_seconds, timeout_seconds),
            limit=limit,
            payload={"refresh": key},
        ) as response,
    ):
        return response.status_code, response.raw.read(_LONGEST_ANSWER_BYTES, decode_content=True)


class LabelStudioAuth(AuthBase):
    """Puts the token on requests to one Label Studio, to be used for no other host; safe under threads.

    Using it raises ImageUnavailable where Label Studio grants no access token.

    Args:
        url: Address of the Label Studio.
        key: A legacy token or a personal access token.
        timeout_seconds: For a whole exchange.
        clock: Gives the time in seconds, by which an access token expires.
    """

    def __init__(
        self, url: str, key: SecretStr, timeout_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._key = key.get_secret_value()
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._clock = clock
        self._access = ""
        self._good_until = 0.0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header()
        return request

    def _header(self) -> str:
        if not is_personal(self._key):
            return f"Token {self._key}"
        with self._lock:
            if self._clock() >= self._good_until:
                asked = self._clock()
                self._access = self._fetch_access_token()
                self._good_until = asked + _read_lifetime_seconds(self._access) - _MARGIN_SECONDS
            return f"Bearer {self._access}"

    def _fetch_access_token(self) -> str:
        try:
            status, body = ask_for_access_token(self._url, self._key, self._timeout_seconds)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise ImageUnavailable(f"{self._url} gives no answer ({type(error).__name__}): {_CHECK_URL}") from None
        if status in (401, 403):
            raise ImageUnavailable(
                f"{self._url} does not accept LABEL_STUDIO_API_KEY (status {status}): "
                "make a new personal access token there"
            )
        try:
            return str(json.loads(body)["access"])
        except (ValueError, KeyError, TypeError):
            raise ImageUnavailable(f"{self._url} grants no access token (status {status}): {_CHECK_URL}") from None


def _read_lifetime_seconds(token: str) -> float:
    """How long a JWT says that it lives, from its own two times: the clocks of the two machines may differ."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"] - claims["iat"])
    except (IndexError, ValueError, KeyError, TypeError):
        return _DEFAULT_LIFETIME_SECONDS
