"""The engine on other machines: a segmenter whose questions are answered by its replicas, one of many for each picture.

A picture is offered by reference, under its digest: the replica that clicks on this digest are sent to fetches it once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from backend.engines.replica_status import ReplicaStatus
from backend.errors import NotReady
from m2n2_engine.types import (
    FREE,
    NEVER,
    Box,
    Click,
    Deadline,
    EngineStatus,
    Example,
    Image,
    Mask,
    Picture,
    Proposal,
    Segmentation,
    Slots,
    Stroke,
    Tier,
)

_ATTEMPTS = 3
_STATUS_SECONDS = 5.0
"""Age at which the status of the replicas is asked for again."""

logger = logging.getLogger(__name__)


class ReplicaLost(NotReady):
    """The replica ended before it answered; another one can."""


class Cluster(Protocol):
    """What carries questions to the replicas."""

    def put(self, image: Image) -> object:
        """A reference that replicas fetch the image by; it is theirs as long as the reference is kept here."""

    def ask(self, method: str, digest: str, arguments: Sequence[object], deadline: Deadline) -> Any:
        """The answer of the replica that holds the image of this digest, or of one that will.

        Raises what the replica raises, ReplicaLost, and Busy where too many wait or no time is left.
        """

    def ask_all(self, method: str) -> Mapping[str, Any]:
        """The answers of those replicas that give one at once, by their names."""


@dataclasses.dataclass(slots=True)
class _Offer:
    reference: object
    is_prepared: bool = False


class RaySegmenter:
    """See ``types.Segmenter``; safe under threads.

    What a picture was offered under lives as long as the picture: the server's cache of pictures bounds both.
    """

    def __init__(
        self,
        cluster: Cluster,
        status_seconds: float = _STATUS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._status_seconds = status_seconds
        self._clock = clock
        self._offers: weakref.WeakKeyDictionary[Picture, _Offer] = weakref.WeakKeyDictionary()
        self._offers_lock = threading.Lock()
        self._status_lock = threading.Lock()
        self._replicas = ReplicaStatus()
        self._status: EngineStatus | None = None
        self._status_until = clock()

    @property
    def model_version(self) -> str:
        """That of the replicas."""
        return self.status().model_version

    @contextlib.contextmanager
    def open(self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Iterator[RemotePicture]:
        """The picture, ready on a replica as far as is known here: it may have dropped it since. Raises what the engine
        raises, Busy, and NotReady where no replica is left."""
        offer = self._find_offer(picture)
        tier = Tier.DEVICE
        if not offer.is_prepared:
            with slots.network():
                tier = Tier(self._ask("prepare", picture, offer, deadline))
        yield RemotePicture(self, picture, offer, tier)

    def segment(
        self,
        picture: Picture,
        clicks: Sequence[Click],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
    ) -> Segmentation:
        """The mask of a replica. Raises as ``open`` does."""
        with self.open(picture, deadline) as opened:
            return opened.segment(clicks, box, mask, deadline)

    def prepare(self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Tier:
        """Make the picture resident on a replica. Raises as ``open`` does."""
        with self.open(picture, deadline, slots) as opened:
            return opened.tier

    def propose(
        self, picture: Picture, examples: Sequence[Example], deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> tuple[Proposal, ...]:
        """Raises NotReady: replicas do not propose."""
        raise NotReady("replicas on other machines make no proposals: run the engine beside the server for them")

    def count_networks(self) -> int:
        """As many as replicas answered when they were asked for their status, at least one."""
        return max(1, 0 if self._status is None else self._status.replicas or 0)

    def status(self) -> EngineStatus:
        """That of all replicas as that of one engine, some seconds old; see ``ReplicaStatus.merge``.

        One caller asks the replicas; the others do not wait for it, but for the first status of all.
        """
        if self._clock() >= self._status_until and self._status_lock.acquire(blocking=self._status is None):
            try:
                self._refresh_status()
            finally:
                self._status_lock.release()
        assert self._status is not None
        return self._status

    def ask_to_segment(
        self,
        picture: Picture,
        offer: _Offer,
        deadline: Deadline,
        clicks: Sequence[Click | Stroke],
        box: Box | None,
        mask: Mask | None,
    ) -> Segmentation:
        """The mask of a replica."""
        answer: Segmentation = self._ask("segment", picture, offer, deadline, list(clicks), box, mask)
        return answer

    def ask_for_candidates(
        self,
        picture: Picture,
        offer: _Offer,
        deadline: Deadline,
        clicks: Sequence[Click | Stroke],
        box: Box | None,
        mask: Mask | None,
    ) -> tuple[Segmentation, ...]:
        """The masks of a replica that the last click may mean."""
        answer: tuple[Segmentation, ...] = self._ask("candidates", picture, offer, deadline, list(clicks), box, mask)
        return answer

    def _refresh_status(self) -> None:
        # Whoever waited for the first status finds it here.
        if self._clock() >= self._status_until:
            self._status = self._replicas.merge(self._cluster.ask_all("status"))
            self._status_until = self._clock() + self._status_seconds

    def _ask(self, method: str, picture: Picture, offer: _Offer, deadline: Deadline, *arguments: object) -> Any:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._ask_once(method, picture, offer, deadline, arguments)
            except ReplicaLost as error:
                logger.warning("image %s is asked for again: %s", picture.digest[:12], error)
        return self._ask_once(method, picture, offer, deadline, arguments)

    def _ask_once(
        self, method: str, picture: Picture, offer: _Offer, deadline: Deadline, arguments: Sequence[object]
    ) -> Any:
        deadline.check("ask a replica")
        # A moment means nothing on another machine, so what is left goes along.
        question = (offer.reference, deadline.remaining_seconds, *arguments)
        answer = self._cluster.ask(method, picture.digest, question, deadline)
        offer.is_prepared = True
        return answer

    def _find_offer(self, picture: Picture) -> _Offer:
        with self._offers_lock:
            offer = self._offers.get(picture)
        if offer is None:
            made = _Offer(self._cluster.put(picture.pixels))
            with self._offers_lock:
                offer = self._offers.setdefault(picture, made)
        return offer


class RemotePicture:
    """A picture that a replica keeps ready; implements ``types.OpenPicture``."""

    def __init__(self, segmenter: RaySegmenter, picture: Picture, offer: _Offer, tier: Tier) -> None:
        self.tier = tier
        self._segmenter = segmenter
        self._picture = picture
        self._offer = offer

    def segment(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> Segmentation:
        """The mask of a replica. Raises as ``RaySegmenter.open``, and what the slots raise."""
        with slots.computing():
            return self._segmenter.ask_to_segment(self._picture, self._offer, deadline, clicks, box, mask)

    def candidates(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> tuple[Segmentation, ...]:
        """The masks of a replica that the last click may mean. Raises as ``segment``."""
        with slots.computing():
            return self._segmenter.ask_for_candidates(self._picture, self._offer, deadline, clicks, box, mask)
