"""Who gets the page, and whose requests it takes: pure rules, and the headers that hold browsers to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest, Forbidden

from backend.http.ports import is_loopback
from backend.settings import Settings

VISITOR_HEADER = "X-M2N2-Visitor"
"""A number that the page draws for itself. No other site's page can send it: browsers ask this server first, which
never allows it."""

_VISITOR = re.compile(r"[0-9a-f]{32}")

HEADERS: Mapping[str, str] = {
    # Scripts, styles and connections of this server alone; nothing within the page's own text is run; no frames.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of the page, of its files and of its answers."""


def is_offered(settings: Settings) -> bool:
    """Whether there is a page: as ``M2N2_PLAYGROUND`` says, with ``auto`` where only people of this machine, or with a
    password, reach it."""
    is_guarded = is_loopback(settings.host.strip("[]").lower()) or settings.basic_auth_password is not None
    return settings.playground == "on" or (settings.playground == "auto" and is_guarded)


def check_visitor(headers: Headers, host: str) -> str:
    """The visitor that a request of the page names.

    Args:
        headers: of the request.
        host: that it was sent to, with the port, as the client names it.

    Raises:
        Forbidden: the page of another site sent it.
        BadRequest: it names no visitor.
    """
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    # Browsers leave out the first where the connection is not secure.
    is_own = site == "same-origin" if site else origin is None or urlsplit(origin).netloc.lower() == host.lower()
    if not is_own:
        raise Forbidden("this request comes from the page of another site: use the page at / of this server")
    visitor = headers.get(VISITOR_HEADER, "")
    if not _VISITOR.fullmatch(visitor):
        raise BadRequest(f"{VISITOR_HEADER} should be 32 hex digits: use the page at / of this server")
    return visitor
