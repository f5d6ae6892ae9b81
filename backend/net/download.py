"""HTTP downloads from hosts that are not trusted: checked addresses, and an end to everything.

A name is resolved once, every address it has is checked, and the connection goes to one of those very addresses, while
the Host header, SNI and the certificate keep the name. Where a proxy is set for a host, the proxy resolves and
connects: then the address check is the proxy's task.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError

from backend.errors import ImageUnavailable, image_too_large
from backend.net.host_rules import IPAddress
from backend.net.name_resolution import Answer, NameResolver

_CHUNK_BYTES = 64 * 1024
_TOO_LATE = "it takes too long to arrive: raise M2N2_FETCH_TIMEOUT_SECONDS"
_resolver = NameResolver()


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to resolve a name or connect to one address, to wait for the next byte, and for a whole download."""

    connect_seconds: float
    read_seconds: float
    total_seconds: float


class TimeLimit:
    """An end to a whole download, redirects and slow headers included; a context manager.

    The timeout of a socket begins anew with every byte. When this one passes, the watched connections are cut, which
    ends a read that is going on in another thread.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> TimeLimit:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # No connection is used again, and one whose answer made no sense is still open.
        self._cut()
        with self._lock:
            for handle in self._handles:
                handle.close()
            for connection in self._connections:
                # Closing it would not do: where urllib3 gives up on a header, it leaves the file over it open.
                if (descriptor := connection.detach()) >= 0:
                    os.close(descriptor)
            self._handles.clear()
            self._connections.clear()

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._ends

    def left(self, seconds: float) -> float:
        """At most so many seconds, and no more than are left. Raises ImageUnavailable where none are."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise ImageUnavailable(_TOO_LATE)
        return min(left, seconds)

    def watch(self, connection: socket.socket) -> None:
        """Cut this connection when the time is over, also after it was handed on to TLS."""
        with self._lock:
            self.left(0)
            self._handles.append(connection.dup())
            self._connections.append(connection)

    def _cut(self) -> None:
        with self._lock:
            for handle in self._handles:
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def open_response(
    url: str,
    *,
    auth: AuthBase,
    check: Callable[[IPAddress], None],
    timeouts: Timeouts,
    limit: TimeLimit,
    payload: Any = None,
) -> Iterator[requests.Response]:
    """The answer to one GET, or to a POST of the payload as JSON; its body not read yet, redirects not followed.

    check: raises for an address that must not be connected to; not called where a proxy connects. A private CA and
    proxies come from the environment as usual. Raises what ``render_failure`` takes, and what ``check`` raises.
    """
    adapter = _GuardedAdapter(_Guard(check, timeouts.connect_seconds, limit))
    with _Session() as session:
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        with session.request(
            "GET" if payload is None else "POST",
            url,
            json=payload,
            auth=auth,
            headers={"Accept-Encoding": "identity"},
            timeout=(limit.left(timeouts.connect_seconds), limit.left(timeouts.read_seconds)),
            allow_redirects=False,
            stream=True,
        ) as response:
            yield response


def read_body(response: requests.Response, max_bytes: int, limit: TimeLimit) -> bytes:
    """The whole body. Raises ImageRefused above ``max_bytes``, at once where the header already says so."""
    body: urllib3.HTTPResponse = response.raw
    if (body.length_remaining or 0) > max_bytes:
        raise image_too_large(max_bytes)
    data = bytearray()
    while chunk := body.read1(_CHUNK_BYTES, decode_content=True):
        data += chunk
        if len(data) > max_bytes:
            raise image_too_large(max_bytes)
    # A body without a length looks complete when its connection is cut.
    limit.left(0)
    return bytes(data)


def render_failure(error: Exception, source: str, limit: TimeLimit) -> str:
    """What went wrong with a download from ``source`` and what to do about it, in one line without the address."""
    if limit.has_passed:
        return _TOO_LATE
    match error:
        case requests.ConnectTimeout():
            reason = "cannot be reached in time: check that it runs, or raise M2N2_CONNECT_TIMEOUT_SECONDS"
        case requests.ReadTimeout() | ReadTimeoutError():
            reason = "falls silent: check that it runs, or raise M2N2_READ_TIMEOUT_SECONDS"
        case requests.exceptions.SSLError():
            reason = "has no certificate that is trusted here: name the file of your own CA in REQUESTS_CA_BUNDLE"
        case requests.exceptions.ProxyError():
            reason = "is not reached through the proxy: check HTTP_PROXY and HTTPS_PROXY, or except it in NO_PROXY"
        case _:
            kind = type(error).__name__
            reason = (
                f"does not deliver it ({kind}): check the address (LABEL_STUDIO_URL for Label Studio) and that it runs"
            )
    return f"{source} {reason}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Guard:
    """Opens the connections of one download."""

    check: Callable[[IPAddress], None]
    connect_seconds: float
    limit: TimeLimit

    def open(self, host: str, port: int, *, is_proxy: bool) -> socket.socket:
        """A connection to the first address of the host that answers, after all but those of a proxy were checked."""
        found = self._resolve(host, port)
        if not is_proxy:
            for *_, target in found:
                self.check(ipaddress.ip_address(str(target[0]).partition("%")[0]))
        failure = OSError(f"{host} has no address")
        for family, _, _, _, target in found:
            try:
                return _connect(family, target, self.limit.left(self.connect_seconds))
            except OSError as error:
                failure = error
        raise failure

    def _resolve(self, host: str, port: int) -> Answer:
        try:
            return _resolver.resolve(host, port, self.limit.left(self.connect_seconds))
        except TimeoutError:
            self.limit.left(0)
            raise ImageUnavailable(
                f"the name {host} is not resolved in time: check the name server, or raise M2N2_CONNECT_TIMEOUT_SECONDS"
            ) from None


def _connect(family: int, target: tuple[Any, ...], timeout_seconds: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_seconds)
        connection.connect(target)
    except BaseException:
        connection.close()
        raise
    return connection


class _GuardedConnection(HTTPConnection):
    """A connection that its guard opens and its deadline watches."""

    def __init__(self, *arguments: Any, guard: _Guard, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guard = guard

    def _new_conn(self) -> socket.socket:
        connection = self._open()
        try:
            self._guard.limit.watch(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> socket.socket:
        # As the errors of urllib3, for it tells the kinds apart and passes our own through.
        try:
            return self._guard.open(self.host, self.port, is_proxy=self.proxy is not None)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} does not answer") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error


class _GuardedTlsConnection(_GuardedConnection, HTTPSConnection):
    """The same under TLS, which checks the certificate against the name of the host."""


class _Session(requests.Session):
    """Leaves redirects alone: by itself it would read the whole body of one, also where it does not follow it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _GuardedAdapter(HTTPAdapter):
    """Makes every connection of a session a guarded one, to proxies as well."""

    def __init__(self, guard: _Guard) -> None:
        super().__init__()
        self._guard = guard

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> urllib3.HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        is_tls = isinstance(pool, urllib3.HTTPSConnectionPool)
        pool.ConnectionCls = _GuardedTlsConnection if is_tls else _GuardedConnection
        pool.conn_kw["guard"] = self._guard
        return pool
