"""Whether Label Studio still takes the token: a dead one fails every click on its images, and its page says nothing.

It is asked in a thread of its own, and only where somebody looks at the answer and the last one is old. So nobody waits
for it, and a server that is probed every second asks Label Studio once a minute.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import threading
import time
from collections.abc import Callable

import requests
import urllib3
from pydantic import SecretStr

from backend.errors import ImageUnavailable
from backend.net.download import TimeLimit, Timeouts, open_response
from backend.net.label_studio_auth import HeaderAuth, ask_for_access_token, is_personal
from backend.settings import Settings

_RECHECK_SECONDS = 60.0
_TIMEOUT_SECONDS = 5.0
"""For each of the two questions."""

_WHO_PATH = "/api/current-user/whoami"
_REFUSALS = (401, 403)

logger = logging.getLogger(__name__)


class TokenState(enum.StrEnum):
    """What is known of the token. unknown: not asked yet. unreachable: no answer that tells."""

    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclasses.dataclass(frozen=True, slots=True)
class TokenStatus:
    """The last answer. reason: where it is not accepted, what is wrong and what to do."""

    state: TokenState
    reason: str | None = None


class TokenCheck:
    """Remembers the last answer; safe under threads.

    Args:
        ask: Asks Label Studio, and may take seconds. Raises nothing.
        clock: Gives the time in seconds.
    """

    def __init__(self, ask: Callable[[], TokenStatus], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._status = TokenStatus(TokenState.UNKNOWN)
        self._due = -1.0
        self._is_asking = False

    def status(self) -> TokenStatus:
        """The last answer. Waits for nothing: where it is old, a new one is asked for in the background."""
        with self._lock:
            if not self._is_asking and self._clock() >= self._due:
                self._is_asking = True
                threading.Thread(target=self._run, name="check-token", daemon=True).start()
            return self._status

    def _run(self) -> None:
        status = TokenStatus(TokenState.UNKNOWN)
        try:
            status = self._ask()
        finally:
            with self._lock:
                is_news = status.state != self._status.state
                self._status = status
                self._due = self._clock() + _RECHECK_SECONDS
                self._is_asking = False
        if is_news and status.reason is not None:
            logger.warning("%s", status.reason)
        elif is_news:
            logger.info("Label Studio accepts LABEL_STUDIO_API_KEY")


def create_token_check(settings: Settings) -> TokenCheck | None:
    """That of the settings; None where there is no Label Studio or no token."""
    url, key = settings.label_studio_url, settings.label_studio_api_key
    return None if url is None or key is None else TokenCheck(lambda: ask_label_studio(url, key))


def ask_label_studio(url: str, key: SecretStr) -> TokenStatus:
    """Whether the Label Studio at ``url`` takes this token, of either kind. Takes some seconds at most."""
    try:
        status = _find_status(url, key.get_secret_value())
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ImageUnavailable, ValueError) as error:
        reason = f"{url} gives no answer ({type(error).__name__}): check LABEL_STUDIO_URL and that Label Studio runs"
        return TokenStatus(TokenState.UNREACHABLE, reason)
    if status in _REFUSALS:
        reason = (
            f"{url} does not accept LABEL_STUDIO_API_KEY (status {status}): make a new personal access token there, "
            "and start this server with it"
        )
        return TokenStatus(TokenState.REFUSED, reason)
    if status != requests.codes.ok:
        reason = f"{url} answers with status {status} and not as Label Studio does: check LABEL_STUDIO_URL"
        return TokenStatus(TokenState.UNREACHABLE, reason)
    return TokenStatus(TokenState.ACCEPTED)


def _find_status(url: str, key: str) -> int:
    """Of the answer that decides. Raises ValueError where it makes no sense."""
    header = f"Token {key}"
    if is_personal(key):
        # Anew each time: an access token outlives the personal one by minutes.
        status, body = ask_for_access_token(url, key, _TIMEOUT_SECONDS)
        if status != requests.codes.ok:
            return status
        try:
            header = f"Bearer {json.loads(body)['access']}"
        except (KeyError, TypeError):
            raise ValueError("no access token") from None
    timeouts = Timeouts(_TIMEOUT_SECONDS, _TIMEOUT_SECONDS, _TIMEOUT_SECONDS)
    with (
        TimeLimit(_TIMEOUT_SECONDS) as limit,
        open_response(
            f"{url}{_WHO_PATH}", auth=HeaderAuth(header), check=lambda _: None, timeouts=timeouts, limit=limit
        ) as response,
    ):
        return response.status_code
