"""The engine on other machines: a segmenter whose questions are answered by its replicas, one of many for each image.

An image is offered by reference, under its digest: the replica that clicks on this digest are sent to fetches it once.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from backend.engines.replica_facts import Facts, ReplicaFacts
from m2n2_engine.errors import NotReady
from m2n2_engine.image_digest import ImageDigests, OncePerImage
from m2n2_engine.types import Box, Click, Image, Level, Segmentation

# Label Studio gives a click up after 100 s.
_LONGEST_WAIT_SECONDS = 90.0
_ATTEMPTS = 3
# The version goes with every answer, so facts are asked for more often than replicas should be bothered.
_FACTS_SECONDS = 5.0

logger = logging.getLogger(__name__)


class ReplicaLost(NotReady):
    """The replica ended before it answered; another one can."""


class Cluster(Protocol):
    """What carries questions to the replicas."""

    def put(self, image: Image) -> object:
        """A reference that replicas fetch the image by; it is theirs as long as the reference is kept here."""

    def ask(self, method: str, digest: str, arguments: Sequence[object], timeout_seconds: float) -> Any:
        """The answer of the replica that holds the image of this digest, or of one that will.

        Raises what the replica raises, ReplicaLost, and Busy where too many wait or the time is over.
        """

    def ask_all(self, method: str) -> Mapping[str, Any]:
        """The answers of those replicas that give one at once, by their names."""


@dataclasses.dataclass(slots=True)
class _Offer:
    digest: str
    reference: object
    is_prepared: bool = False


class RaySegmenter:
    """See `types.Segmenter`; safe under threads.

    What an image was offered under lives as long as the image: the server's cache of decoded images bounds both.
    """

    def __init__(
        self,
        cluster: Cluster,
        facts_seconds: float = _FACTS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._facts_seconds = facts_seconds
        self._clock = clock
        self._digests = ImageDigests()
        self._offers = OncePerImage(self._make_offer)
        self._lock = threading.Lock()
        self._replica_facts = ReplicaFacts()
        self._facts: Facts = {}
        self._facts_until = clock()

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> Segmentation:
        """The mask of a replica. Raises what the engine raises, Busy, and NotReady where no replica is left."""
        answer: Segmentation = self._ask("segment", image, list(clicks), box)
        return answer

    def prepare(self, image: Image) -> Level:
        """Make the image resident on a replica. Raises as `segment` does."""
        return Level(self._ask("prepare", image))

    def find_level(self, image: Image) -> Level:
        """DEVICE once a replica has answered for the image, as far as is known here: it may have dropped it since."""
        return Level.DEVICE if self._find_offer(image).is_prepared else Level.NETWORK

    def count_networks(self) -> int:
        """As many as replicas answered when they were asked for their facts, at least one."""
        return max(1, int(self._facts.get("replicas") or 0))

    def describe(self) -> Facts:
        """The facts of all replicas as those of one engine, some seconds old; see `ReplicaFacts.merge`.

        One caller asks the replicas; the others do not wait for it, but for the first facts of all.
        """
        if self._clock() >= self._facts_until and self._lock.acquire(blocking=not self._facts):
            try:
                self._refresh_facts()
            finally:
                self._lock.release()
        return self._facts

    def _refresh_facts(self) -> None:
        # Whoever waited for the first facts finds them here.
        if self._clock() >= self._facts_until:
            self._facts = self._replica_facts.merge(self._cluster.ask_all("describe"))
            self._facts_until = self._clock() + self._facts_seconds

    def _ask(self, method: str, image: Image, *arguments: object) -> Any:
        offer = self._find_offer(image)
        deadline = self._clock() + _LONGEST_WAIT_SECONDS
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._ask_once(method, offer, arguments, deadline)
            except ReplicaLost as error:
                logger.warning("image %s is asked for again: %s", offer.digest[:12], error)
        return self._ask_once(method, offer, arguments, deadline)

    def _ask_once(self, method: str, offer: _Offer, arguments: Sequence[object], deadline: float) -> Any:
        question = (offer.reference, *arguments)
        answer = self._cluster.ask(method, offer.digest, question, deadline - self._clock())
        offer.is_prepared = True
        return answer

    def _find_offer(self, image: Image) -> _Offer:
        return self._offers.find(np.ascontiguousarray(image))

    def _make_offer(self, image: Image) -> _Offer:
        return _Offer(self._digests.digest(image), self._cluster.put(image))
