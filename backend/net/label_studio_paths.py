"""Which addresses of Label Studio images may come from. Pure rules: nothing here opens a connection."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from backend.errors import ImageRefused

_IMAGE_PATH = re.compile(r"/(data|static|storage-data)/.|/(tasks|projects)/\d+/(presign|resolve)/$")
"""Uploads and local files, samples, files of cloud storage by either way. Of Label Studio 1.23, below its own path."""

_MOST_ROUNDS = 5
"""After so many an address that still changes is nobody's. Here: the client's own two steps settle in two rounds."""

_BAD_ADDRESS = "the address cannot be asked for: correct it in the task's data (no setting allows this)"


def render_image_url(base: str, path: str, query: str = "") -> str:
    """An address of Label Studio that an image may be fetched from, as the HTTP client will send it.

    The client removes steps like ``.`` and decodes ``%2e`` by itself. So the address is first brought to a form
    that the client leaves alone, and that form is checked.

    Args:
        base: address of Label Studio, without a slash at its end.
        path: below it, beginning with a slash.
        query: without its question mark.

    Raises:
        ImageRefused: the path climbs, or Label Studio gives no images there.
    """
    if ".." in _split_steps(path):
        raise ImageRefused("the path climbs with '..': use its plain address (no setting allows this)")
    url = _normalise(f"{base}{path}{f'?{query}' if query else ''}")
    found = urlsplit(url).path
    prefix = urlsplit(base).path
    below = found.removeprefix(prefix)
    if not found.startswith(f"{prefix}/") or "." in _split_steps(below) or not _is_image_path(below):
        raise ImageRefused(
            "Label Studio gives images below /data/, /static/ and /storage-data/ and for a task's cloud storage: "
            "its other addresses, such as its API, are never asked (no setting allows this)"
        )
    return url


def _is_image_path(path: str) -> bool:
    """Whether it is one before and after it was decoded, as servers do."""
    return all(_IMAGE_PATH.match(form) for form in (path, _decode(path)))


def _normalise(url: str) -> str:
    for _ in range(_MOST_ROUNDS):
        before = url
        try:
            url = parse_url(requests.Request("GET", url).prepare().url or "").url
        except (requests.RequestException, LocationParseError):
            raise ImageRefused(_BAD_ADDRESS) from None
        if url == before:
            return url
    raise ImageRefused(_BAD_ADDRESS)


def _split_steps(path: str) -> list[str]:
    """What lies between slashes of either kind, also of those that a server finds only after decoding."""
    return re.split(r"[/\\]", _decode(path))


def _decode(path: str) -> str:
    """Without percent signs that a server, or one behind it, would decode."""
    for _ in range(_MOST_ROUNDS):
        path = unquote(path)
    return path
