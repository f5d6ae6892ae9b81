"""Label Studio's HTTP API, for setting a project up and looking at it; either kind of token opens it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import requests
from pydantic import SecretStr

from backend.net.label_studio_auth import LabelStudioAuth, NoAuth
from m2n2_engine.errors import M2N2Error

# Label Studio itself waits 100 s for a backend's answer, which it passes on.
_TIMEOUT_SECONDS = 120.0
_PERSONAL_DOTS = 2
_LONGEST_SHOWN = 500
_OF_NO_FIELD = ("non_field_errors", "__all__")
"""Where Label Studio's framework puts what is wrong with a request as a whole."""


class LabelStudioError(M2N2Error):
    """Label Studio cannot be reached, or does not do what it was asked.

    status: of its answer; None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class LabelStudioClient:
    """One Label Studio, spoken to as the owner of a token.

    url: its address, with a path at most. key: a personal access token or a legacy token. timeout_seconds: longest
    silence.
    Every method raises LabelStudioError with Label Studio's own reason, and ImageUnavailable where the personal access
    token is not accepted. The token is sent to ``url`` alone: redirects are not followed.
    """

    def __init__(self, url: str, key: SecretStr, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._is_personal = key.get_secret_value().count(".") == _PERSONAL_DOTS
        self._timeout_seconds = timeout_seconds
        self._auth = LabelStudioAuth(self.url, key, timeout_seconds)

    @property
    def token_kind(self) -> str:
        """Of the two, as Label Studio calls them."""
        return "personal access token" if self._is_personal else "legacy token"

    def get_version(self) -> str:
        """Label Studio's version, which it tells without a token."""
        return str(self._request("GET", "/api/version/", auth=NoAuth())["release"])

    def get(self, path: str, **params: str | int) -> Any:
        """The JSON behind a path."""
        return self._request("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | Sequence[Any]) -> Any:
        """The JSON answer to a JSON body; None where it is empty."""
        return self._request("POST", path, json=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """The object after changing these fields of it."""
        return self._request("PATCH", path, json=body)

    def upload(self, project: int, name: str, data: bytes) -> None:
        """Import a file into a project: an image becomes one task."""
        self._request("POST", f"/api/projects/{project}/import", files={name: (name, data)})

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = requests.request(
                method,
                f"{self.url}{path}",
                timeout=self._timeout_seconds,
                allow_redirects=False,
                **{"auth": self._auth, **arguments},
            )
        except requests.RequestException as error:
            raise LabelStudioError(
                f"{self.url} gives no answer ({type(error).__name__}): check the address and that Label Studio runs"
            ) from None
        if not response.ok or response.is_redirect:
            reason = _read_reason(response)
            raise LabelStudioError(
                f"{self.url}{path} answers with status {response.status_code}: {reason}", response.status_code
            )
        try:
            return response.json() if response.content else None
        except ValueError:
            raise LabelStudioError(
                f"{self.url}{path} answers with no JSON: check that the address is Label Studio's"
            ) from None


def _read_reason(response: requests.Response) -> str:
    """What Label Studio says of its refusal, in one line."""
    if response.is_redirect:
        return f"it sends on to {response.headers['Location']}; give that address"
    try:
        body = response.json()
        # Some of its answers have the fields beside each other, and no more.
        problems = body.get("validation_errors") or (None if "detail" in body else body)
        text = str(body["detail"]) if problems is None else "; ".join(_describe_fields(problems))
    except (ValueError, KeyError, AttributeError):
        text = ""
    return " ".join(text.split())[:_LONGEST_SHOWN] or response.reason or "no reason given"


def _describe_fields(problems: object) -> list[str]:
    """``field: what is wrong with it`` of each; of what is no mapping of fields, the messages alone."""
    if not isinstance(problems, Mapping):
        return _flatten(problems)
    told = []
    for field, problem in problems.items():
        text = " ".join(_flatten(problem))
        told.append(text if field in _OF_NO_FIELD else f"{field}: {text}")
    return told


def _flatten(problems: object) -> list[str]:
    """The messages in a field's nested lists and objects."""
    if isinstance(problems, Mapping):
        problems = list(problems.values())
    if isinstance(problems, list):
        return [text for problem in problems for text in _flatten(problem)]
    return [str(problems)]
