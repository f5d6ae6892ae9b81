"""CVAT's own port: a nuclio dashboard has its endpoints at the root, and CVAT can be given a host and a port only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = "/cvat"
"""Of CVAT's endpoints at every other port."""


class CvatPort:
    """WSGI middleware: at this port CVAT's endpoints stand at the root, and nothing else of the application."""

    def __init__(self, app: WSGIApplication, port: int) -> None:
        self._app = app
        self._port = str(port)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The socket's port, whatever the client says in its headers.
        if environ["SERVER_PORT"] == self._port:
            environ["PATH_INFO"] = PREFIX + environ["PATH_INFO"]
        return self._app(environ, start_response)
