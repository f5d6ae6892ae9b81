"""The mail room: an image reference of a task -> RGB array, with every limit.

Bytes come from three places and no other: the reference itself (``data:``), the folder of M2N2_LOCAL_FILES_ROOT, and
the Label Studio of LABEL_STUDIO_URL.
"""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, unquote_to_bytes, urljoin, urlsplit

import requests
import urllib3

from backend.label_studio_auth import LabelStudioAuth, NoAuth
from backend.settings import Settings
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import ImageRefused, ImageUnavailable, InvalidImage
from m2n2_engine.image_file import decode_image
from m2n2_engine.types import Image

_CHUNK_BYTES = 64 * 1024
_MOST_REDIRECTS = 5
_LOCAL_FILES_PATH = "/data/local-files/"
_LOGIN_PATH = "/user/login"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST_SHOWN = 160


class ImageFetcher:
    """Fetches the images of tasks within the limits of the settings; safe under threads.

    max_pixels: no image of more pixels is decoded.
    """

    def __init__(self, settings: Settings) -> None:
        self.max_pixels = settings.max_image_megapixels * 1_000_000
        self._max_bytes = settings.max_image_mib * MEBIBYTE
        self._root = settings.local_files_root
        self._label_studio = _LabelStudio(settings) if settings.label_studio_url else None

    def fetch_image(self, reference: str) -> Image:
        """The RGB uint8 (H, W, 3) image that a task's data refers to, turned upright.

        Raises ImageRefused where a rule forbids it, ImageUnavailable where its bytes cannot be had, InvalidImage where
        they are no image. Every message names the reference, without its payload, password or signature.
        """
        try:
            return decode_image(self._fetch_bytes(reference), max_pixels=self.max_pixels)
        except (InvalidImage, ImageUnavailable) as error:
            raise type(error)(f"image {_shorten(reference)}: {error}") from None

    def _fetch_bytes(self, reference: str) -> bytes:
        if reference[:5].lower() == "data:":
            return _decode_data_uri(reference, self._max_bytes)
        parts = _split(reference)
        if parts.scheme or parts.netloc:
            return self._download(parts)
        path = parts.path.removeprefix(self._label_studio.prefix) if self._label_studio else parts.path
        if self._root and path == _LOCAL_FILES_PATH:
            return _read_file(self._root, parse_qs(parts.query).get("d", [""])[0], self._max_bytes)
        if path.startswith("/data/"):
            return self._download(parts._replace(path=path))
        if self._root:
            return _read_file(self._root, reference, self._max_bytes)
        raise ImageRefused(
            "not an address this server fetches from: use an upload, a local file of Label Studio, or data:; "
            "a folder of this server is opened by M2N2_LOCAL_FILES_ROOT"
        )

    def _download(self, parts: SplitResult) -> bytes:
        if self._label_studio is None:
            raise ImageRefused("images are fetched from Label Studio alone: set LABEL_STUDIO_URL")
        return self._label_studio.download(parts, self._max_bytes)


class _LabelStudio:
    """The one host that images are fetched from and that sees the token."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.label_studio_url or ""
        base = urlsplit(self._url)
        self.prefix = base.path
        self._origin = _find_origin(base)
        self._timeout_seconds = settings.fetch_timeout_seconds
        key = settings.label_studio_api_key
        self._auth = LabelStudioAuth(self._url, key, self._timeout_seconds) if key else NoAuth()
        self._has_key = key is not None

    def download(self, parts: SplitResult, max_bytes: int) -> bytes:
        """The body behind an address of this Label Studio, or behind a path, which is taken below its own.

        Raises ImageRefused for any other host, also as the target of a redirect, and for more than ``max_bytes``.
        Gives up within the timeout; a server that falls silent can add the timeout once more.
        """
        url = self._build_url(parts)
        deadline = time.monotonic() + self._timeout_seconds
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                with self._get(url, _check_deadline(deadline)) as response:
                    if not response.is_redirect:
                        self._check_status(response.status_code)
                        return _read_body(response.raw, max_bytes, deadline)
                    url = self._follow(url, response.headers["Location"])
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise ImageUnavailable(
                f"Label Studio does not deliver it ({type(error).__name__}): check LABEL_STUDIO_URL and that it runs"
            ) from None
        raise ImageUnavailable(f"Label Studio redirects more than {_MOST_REDIRECTS} times: check LABEL_STUDIO_URL")

    def _get(self, url: str, timeout_seconds: float) -> requests.Response:
        return requests.get(
            url,
            auth=self._auth,
            headers={"Accept-Encoding": "identity"},
            timeout=timeout_seconds,
            allow_redirects=False,
            stream=True,
        )

    def _build_url(self, parts: SplitResult) -> str:
        """The address to ask: always our own host and path, whatever the reference says before its path."""
        if parts.scheme or parts.netloc:
            if _find_origin(parts) != self._origin or not f"{parts.path}/".startswith(f"{self.prefix}/"):
                raise ImageRefused(f"images are fetched from {self._url} alone: move it there or set LABEL_STUDIO_URL")
            path = parts.path.removeprefix(self.prefix)
        else:
            path = parts.path
        if ".." in re.split(r"[/\\]", unquote(path)):
            raise ImageRefused("the path of an image may not climb with '..': use its plain address")
        return f"{self._url}{path}" + (f"?{parts.query}" if parts.query else "")

    def _follow(self, url: str, location: str) -> str:
        parts = _split(urljoin(url, location))
        if _LOGIN_PATH in parts.path:
            self._check_status(401)
        if _find_origin(parts) != self._origin:
            raise ImageRefused(
                f"Label Studio sends on to {parts.scheme}://{parts.hostname}, and images are fetched from {self._url} "
                "alone: switch off pre-signed URLs in the storage's settings"
            )
        return self._build_url(parts)

    def _check_status(self, status: int) -> None:
        if status == 200:
            return
        if status in (401, 403):
            remedy = (
                "LABEL_STUDIO_API_KEY is not accepted or may not see this image; use a personal access token"
                if self._has_key
                else "set LABEL_STUDIO_API_KEY"
            )
        else:
            remedy = "open the task in Label Studio and check that its image shows"
        raise ImageUnavailable(f"Label Studio answers with status {status}: {remedy}")


def _split(reference: str) -> SplitResult:
    if _UNPRINTABLE.search(reference):
        raise InvalidImage("the reference holds control characters: correct it in the task's data")
    try:
        parts = urlsplit(reference)
        _find_origin(parts)
    except ValueError as error:
        raise InvalidImage(f"the reference is no address: {error}") from None
    return parts


def _find_origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _read_body(body: urllib3.BaseHTTPResponse, max_bytes: int, deadline: float) -> bytes:
    data = bytearray()
    # read1 returns after each packet, so that a server that drips bytes meets the deadline too.
    while chunk := body.read1(_CHUNK_BYTES, decode_content=True):
        data += chunk
        _check_size(len(data), max_bytes)
        _check_deadline(deadline)
    return bytes(data)


def _check_deadline(deadline: float) -> float:
    """The seconds that are left, more than 0."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise ImageUnavailable("Label Studio takes too long to deliver it: raise M2N2_FETCH_TIMEOUT_SECONDS")
    return left


def _read_file(root: Path, name: str, max_bytes: int) -> bytes:
    """Bytes of a file strictly below the root, after every symbolic link."""
    try:
        path = (root / name).resolve()
        if root not in path.parents:
            raise ImageRefused("not below the folder of M2N2_LOCAL_FILES_ROOT, which alone is open")
        if not path.is_file():
            raise ImageUnavailable("no such file in the folder of M2N2_LOCAL_FILES_ROOT: check both")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise ImageUnavailable(f"the file cannot be read ({type(error).__name__}): check its permissions") from None
    _check_size(len(data), max_bytes)
    return data


def _decode_data_uri(uri: str, max_bytes: int) -> bytes:
    head, comma, payload = uri.partition(",")
    if not comma:
        raise InvalidImage("a data: URI needs a comma before its data")
    is_base64 = head.lower().endswith(";base64")
    smallest = len(payload) - 2 * payload.count("%")
    _check_size(smallest * 3 // 4 - 2 if is_base64 else smallest, max_bytes)
    try:
        data = unquote_to_bytes(payload)
        return _decode_base64(data) if is_base64 else data
    except ValueError as error:
        raise InvalidImage(f"the data: URI is damaged: {error}") from None


def _decode_base64(data: bytes) -> bytes:
    """As browsers do: white space is skipped and the padding may be missing."""
    data = data.translate(None, b" \t\r\n\f")
    return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)


def _check_size(count: int, max_bytes: int) -> None:
    if count > max_bytes:
        raise ImageRefused(f"more than {max_bytes // MEBIBYTE} MiB: reduce it or raise M2N2_MAX_IMAGE_MIB")


def _shorten(reference: str) -> str:
    """The reference for messages and logs: no payload, no password, no signature, one line."""
    if reference[:5].lower() == "data:":
        return f"data: URI of {len(reference)} characters"
    shown = reference if reference.startswith(_LOCAL_FILES_PATH) else reference.partition("?")[0]
    shown = _UNPRINTABLE.sub("?", re.sub(r"//[^/]*@", "//", shown))
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
