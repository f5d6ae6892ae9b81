"""Images behind addresses: of Label Studio, which sees the token, and of hosts that settings allow, which do not."""

from __future__ import annotations

import base64
import dataclasses
import re
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import requests
import urllib3

from backend.errors import ImageRefused, ImageUnavailable
from backend.net.download import TimeLimit, Timeouts, open_response, read_body, render_failure
from backend.net.host_rules import HostRules, IPAddress, Origin, find_origin
from backend.net.label_studio_auth import LabelStudioAuth, NoAuth
from backend.net.label_studio_paths import render_image_url
from backend.settings import Settings
from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import NEVER, Deadline

CLOUD_SCHEMES = ("s3", "gs", "azure-blob")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MOST_REDIRECTS = 5
_LOGIN_PATH = "/user/login"
_LABEL_STUDIO = "Label Studio"
_NO_LABEL_STUDIO = "this kind of image is fetched from Label Studio: set LABEL_STUDIO_URL"


def split_address(reference: str, base: str = "") -> SplitResult:
    """The parts of an address or of a path, as seen from the base. Raises InvalidImage for what is neither."""
    if UNPRINTABLE.search(reference):
        raise InvalidImage("the reference holds control characters: correct it in the task's data")
    try:
        parts = urlsplit(urljoin(base, reference))
        find_origin(parts)
    except ValueError as error:
        raise InvalidImage(f"the reference is no address: {error}") from None
    return parts


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """One hop: what to ask, of whom. may_have_token: no other host had a say in the address."""

    url: str
    origin: Origin
    is_label_studio: bool
    may_have_token: bool = True

    @property
    def name(self) -> str:
        return _LABEL_STUDIO if self.is_label_studio else str(self.origin)


class WebImages:
    """Downloads within the limits of the settings; safe under threads."""

    def __init__(self, settings: Settings) -> None:
        self._rules = HostRules(settings.allowed_image_hosts, settings.private_image_hosts)
        self._timeouts = Timeouts(
            settings.connect_timeout_seconds, settings.read_timeout_seconds, settings.fetch_timeout_seconds
        )
        self._url = settings.label_studio_url or ""
        base = urlsplit(self._url)
        self._prefix = base.path
        self._origin = find_origin(base)
        key = settings.label_studio_api_key
        self._has_key = key is not None
        self._auth = LabelStudioAuth(self._url, key, self._timeouts.total_seconds) if key and self._url else NoAuth()

    def strip_prefix(self, path: str) -> str:
        """A path of Label Studio without the one that all of it lies below."""
        return path.removeprefix(self._prefix)

    def download(self, parts: SplitResult, max_bytes: int, deadline: Deadline = NEVER) -> bytes:
        """The body behind an address; one without a host is a path below Label Studio's own.

        Raises ImageRefused for a host, address or size that the settings forbid, at any redirect; ImageUnavailable
        where the body does not arrive in time; DeadlineExceeded where the deadline is sooner.
        """
        return self._download(self._find_target(parts), max_bytes, deadline)

    def download_cloud(self, uri: str, task_id: int | None, max_bytes: int, deadline: Deadline = NEVER) -> bytes:
        """The file behind a cloud URI of a task, which Label Studio passes on or redirects to. Raises as download."""
        if not self._url:
            raise ImageRefused(_NO_LABEL_STUDIO)
        if task_id is None:
            raise ImageUnavailable("cloud storage is reached through the task, but the request gives no task id")
        encoded = quote(base64.urlsafe_b64encode(uri.encode()))
        target = self._aim_at_label_studio(f"/tasks/{task_id}/presign/", f"fileuri={encoded}")
        return self._download(target, max_bytes, deadline)

    def _download(self, target: _Target, max_bytes: int, deadline: Deadline) -> bytes:
        with TimeLimit(min(self._timeouts.total_seconds, deadline.remaining_seconds)) as limit:
            for _ in range(_MOST_REDIRECTS + 1):
                try:
                    answer = self._ask(target, max_bytes, limit)
                except ImageRefused:
                    raise
                except ImageUnavailable:
                    # Others wait for this image too, and may have more time than this click.
                    deadline.check("fetch the image")
                    raise
                if isinstance(answer, bytes):
                    return answer
                target = answer
        raise ImageUnavailable(f"{target.name} redirects more than {_MOST_REDIRECTS} times: check the address")

    def _ask(self, target: _Target, max_bytes: int, limit: TimeLimit) -> bytes | _Target:
        """The body, or where to go on."""

        def check(address: IPAddress) -> None:
            # Label Studio is where the settings say, most often at a private address.
            if not target.is_label_studio:
                self._rules.check_address(target.origin, address)

        auth = self._auth if target.is_label_studio and target.may_have_token else NoAuth()
        try:
            with open_response(target.url, auth=auth, check=check, timeouts=self._timeouts, limit=limit) as response:
                if response.is_redirect:
                    return self._follow(target, response.headers["Location"])
                self._check_status(target, response.status_code)
                return read_body(response, max_bytes, limit)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise ImageUnavailable(render_failure(error, target.name, limit)) from None

    def _find_target(self, parts: SplitResult) -> _Target:
        if not parts.scheme and not parts.netloc:
            if not self._url:
                raise ImageRefused(_NO_LABEL_STUDIO)
            return self._aim_at_label_studio(parts.path, parts.query)
        origin = find_origin(parts)
        if self._url and origin == self._origin and f"{parts.path}/".startswith(f"{self._prefix}/"):
            return self._aim_at_label_studio(self.strip_prefix(parts.path), parts.query)
        self._rules.check_host(origin)
        query = f"?{parts.query}" if parts.query else ""
        return _Target(f"{origin}{parts.path or '/'}{query}", origin, is_label_studio=False)

    def _aim_at_label_studio(self, path: str, query: str) -> _Target:
        return _Target(render_image_url(self._url, path, query), self._origin, is_label_studio=True)

    def _follow(self, target: _Target, location: str) -> _Target:
        parts = split_address(location, target.url)
        if target.is_label_studio and _LOGIN_PATH in parts.path:
            self._check_status(target, 401)
        try:
            # Whoever is not Label Studio must not choose what its token is used for.
            may_have_token = target.is_label_studio and target.may_have_token
            return dataclasses.replace(self._find_target(parts), may_have_token=may_have_token)
        except ImageRefused as error:
            hint = "; or switch off pre-signed URLs in the storage's settings" if target.is_label_studio else ""
            raise ImageRefused(f"{target.name} redirects: {error}{hint}") from None

    def _check_status(self, target: _Target, status: int) -> None:
        if status == 200:
            return
        if not target.is_label_studio:
            remedy = "open the address in a browser; this server sends no password or token to this host"
        elif status not in (401, 403):
            remedy = "open the task in Label Studio and check that its image shows"
        elif not target.may_have_token:
            remedy = "it sees no token after another host's redirect; name Label Studio's own address in the task"
        elif self._has_key:
            remedy = "LABEL_STUDIO_API_KEY is not accepted or may not see this image; use a personal access token"
        else:
            remedy = "set LABEL_STUDIO_API_KEY"
        raise ImageUnavailable(f"{target.name} answers with status {status}: {remedy}")
