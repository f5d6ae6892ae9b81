"""Servers beside this one that share the images with it, so that the clicks on an image meet what is kept of it.

Any of them can answer any click, with the same mask. But the network runs once for an image only where all clicks on it
go to one server. A platform cannot send them there, for the image is named in the body of a request alone. So the
server that gets a click looks up whose image it is, and asks that one.

Whose it is follows from the names of the peers and the key of the image, by rendezvous hashing: of all pairs of a peer
and this key, the one with the highest hash. Every server comes to the same result without asking. Where a peer is
missing, its own images alone go to others.

A peer is a help and no condition. Where it does not answer, or says that it cannot now (503), the click is answered
here. A forwarded request is never forwarded again.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import threading
import time
from collections.abc import Callable, Sequence

from flask import Response, request
from prometheus_client import CollectorRegistry, Counter

from backend.errors import NotReady
from backend.http.request import FORWARDED_HEADER, RequestRecord
from backend.settings import Settings

CONNECT_SECONDS = 1.0
"""For a connection to a peer. Here: as nginx's to a process; peers are in one network."""

ABSENT_SECONDS = 10.0
"""A peer that did not answer is not asked for so long. Here: as long as Kubernetes takes to see that a pod is not
ready."""

_SHARE_OF_DEADLINE = 0.5
"""Of the time that a click has left, for the peer's answer. Here: what is left then is enough to answer it here."""

_REQUEST_HEADERS = ("Authorization", "Accept-Encoding", "Content-Type", "X-Nuclio-Function-Name")
_ANSWER_HEADERS = ("Content-Type", "Content-Encoding", "Vary")

logger = logging.getLogger(__name__)


def rank_peers(peers: Sequence[str], key: str) -> list[str]:
    """The peers in the order in which an image belongs to them: if the first is missing, it is the second's.

    Args:
        peers: names, each once, in any order.
        key: of the image.
    """

    def weigh(peer: str) -> bytes:
        return hashlib.blake2b(f"{peer} {key}".encode(errors="surrogatepass"), digest_size=16).digest()

    return sorted(peers, key=weigh, reverse=True)


def choose_peers(settings: Settings, is_ready: Callable[[], bool], registry: CollectorRegistry) -> Peers | None:
    """The peers of the settings; None where a server is alone. See `Peers`."""
    if settings.own_peer is None:
        return None
    return Peers(settings.peers, settings.own_peer, is_ready, registry)


class Peers:
    """All servers that share the images, this one among them; safe under threads."""

    def __init__(
        self,
        names: Sequence[str],
        own: str,
        is_ready: Callable[[], bool],
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know the peers of a server.

        Args:
            names: ``host:port`` of each; the same at every peer.
            own: that of this server.
            is_ready: whether this server can answer a click at once. What is passed on to one that cannot goes back.
            registry: where the requests that were passed on are told.
            clock: seconds that never go back.
        """
        self._names = names
        self._own = own
        self._is_ready = is_ready
        self._clock = clock
        self._lock = threading.Lock()
        self._absent_until: dict[str, float] = {}
        self._forwarded = Counter(
            "m2n2_forwarded", "Requests passed on to another server, by what came of it.", ["result"], registry=registry
        )
        for result in ("answered", "unavailable", "unreachable"):
            self._forwarded.labels(result)

    def owns(self, key: str) -> bool:
        """Whether an image belongs to this server, as far as it knows who is there."""
        return self._find_owner(key) == self._own

    def forward(self, key: str | None, record: RequestRecord) -> Response | None:
        """What the peer that an image belongs to answers to the current request; None: it is to be answered here.

        Args:
            key: of the image; None for a request without one.
            record: of the request. A request that a peer has answered is noted as forwarded.

        Raises:
            NotReady: a peer passed it on, and this server is not ready. The peer answers it then.
            DeadlineExceeded: no time is left for an answer.
        """
        if FORWARDED_HEADER in request.headers:
            if not self._is_ready():
                raise NotReady("this server's model is not ready: the one that passed the click on answers it")
            return None
        owner = self._own if key is None else self._find_owner(key)
        if owner == self._own:
            return None
        try:
            with record.measure("forward"):
                response = self._ask(owner, record)
        except (OSError, http.client.HTTPException) as error:
            self._note_absent(owner, error)
            return None
        if response.status_code == http.client.SERVICE_UNAVAILABLE:
            self._forwarded.labels("unavailable").inc()
            return None
        self._forwarded.labels("answered").inc()
        record.is_forwarded = True
        return response

    def _find_owner(self, key: str) -> str:
        now = self._clock()
        with self._lock:
            there = [name for name in self._names if name == self._own or self._absent_until.get(name, now) <= now]
        return rank_peers(there, key)[0]

    def _note_absent(self, peer: str, error: Exception) -> None:
        self._forwarded.labels("unreachable").inc()
        reason = error or type(error).__name__
        logger.warning("%s does not answer, and is not asked for %.0f s: %s", peer, ABSENT_SECONDS, reason)
        with self._lock:
            self._absent_until[peer] = self._clock() + ABSENT_SECONDS

    def _ask(self, peer: str, record: RequestRecord) -> Response:
        given = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers = {**given, "X-Request-ID": record.id, FORWARDED_HEADER: self._own}
        record.deadline.check("ask the server that has the image")
        wait_seconds = _SHARE_OF_DEADLINE * record.deadline.remaining_seconds
        connection = http.client.HTTPConnection(peer, timeout=min(CONNECT_SECONDS, wait_seconds))
        try:
            connection.connect()
            connection.sock.settimeout(wait_seconds)
            connection.request("POST", request.path, request.get_data(), headers)
            answer = connection.getresponse()
            response = Response(answer.read(), f"{answer.status} {answer.reason}")
            del response.headers["Content-Type"]
            response.headers.extend((name, value) for name in _ANSWER_HEADERS if (value := answer.getheader(name)))
            return response
        finally:
            connection.close()
