"""The page's own files, read once: what is not among them is not served."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Response, request
from werkzeug.exceptions import NotFound

from backend.playground.access import HEADERS

_FOLDER = Path(__file__).parent
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".md": "text/markdown; charset=utf-8",
}
"""Named here: what the system says of a file's ending differs from machine to machine."""


class PageFiles:
    """The files of one folder beside this one, by their names."""

    def __init__(self, folder: str) -> None:
        paths = sorted(path for path in (_FOLDER / folder).iterdir() if path.suffix in _TYPES)
        self._files = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in paths}

    def answer(self, name: str) -> Response:
        """The file, or that the browser has it already. Raises NotFound."""
        if name not in self._files:
            raise NotFound(f"the page has no file {name!r}")
        content, kind = self._files[name]
        response = Response(content, content_type=kind, headers=dict(HEADERS))
        # Asked for again each time, but sent only where a new release changed it.
        response.headers["Cache-Control"] = "no-cache"
        response.set_etag(hashlib.blake2b(content, digest_size=16).hexdigest())
        response.make_conditional(request)
        return response
