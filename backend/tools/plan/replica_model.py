"""One replica of the simulation: which images it has, at which tier, and how long it works for a click."""

from __future__ import annotations

import collections
import dataclasses
import random

from backend.settings import Settings
from backend.tools.plan.service_times import READYING, Part, ServiceTimes
from m2n2_engine.config import MEBIBYTE, PROCESSOR_SESSION_CACHE_BYTES
from m2n2_engine.types import Tier


@dataclasses.dataclass(frozen=True, slots=True)
class Budgets:
    """Of one replica. session_bytes, host_bytes, disk_bytes: of the tiers of the attention cache. images: decoded ones
    that it keeps, by which clicks find it."""

    session_bytes: int
    host_bytes: int
    disk_bytes: int
    images: int


def read_budgets(settings: Settings) -> Budgets:
    """Those of a replica with these settings; where that of sessions is left to its device, a processor's."""
    session_bytes = settings.engine_config().session_cache_bytes
    return Budgets(
        session_bytes=PROCESSOR_SESSION_CACHE_BYTES if session_bytes is None else session_bytes,
        host_bytes=settings.host_cache_mib * MEBIBYTE,
        disk_bytes=settings.disk_cache_mib * MEBIBYTE,
        images=settings.ray_images,
    )


class Shelf:
    """Images within a budget of bytes, the least recently used out first.

    keep_newest: also where it alone exceeds the budget, as sessions do.
    """

    def __init__(self, budget_bytes: int, *, keep_newest: bool = False) -> None:
        self._budget_bytes = budget_bytes
        self._least_images = 1 if keep_newest else 0
        self._sizes: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._used_bytes = 0

    def __contains__(self, image: int) -> bool:
        return image in self._sizes

    def put(self, image: int, nbytes: int) -> list[int]:
        """Keep the image as the newest one, of this size; those that made room for it."""
        self._used_bytes += nbytes - self._sizes.pop(image, 0)
        self._sizes[image] = nbytes
        evicted = []
        while self._used_bytes > self._budget_bytes and len(self._sizes) > self._least_images:
            oldest, size = self._sizes.popitem(last=False)
            self._used_bytes -= size
            evicted.append(oldest)
        return evicted


@dataclasses.dataclass(slots=True)
class _Session:
    """seen: clicks of the object in the making. maps: of all objects, each of which takes room."""

    seen: int = 0
    maps: int = 0


class ReplicaModel:
    """Mirrors what an engine keeps (``m2n2_engine.cache``), a click at a time."""

    def __init__(self, budgets: Budgets, disk: Shelf, times: ServiceTimes, rng: random.Random) -> None:
        """disk: may be shared with other replicas."""
        self._times = times
        self._rng = rng
        self._disk = disk
        self._host = Shelf(budgets.host_bytes)
        self._device = Shelf(budgets.session_bytes, keep_newest=True)
        self._sessions: dict[int, _Session] = {}

    def prepare(self, image: int) -> tuple[Tier, float]:
        """Where the image was found, and the seconds until it is resident."""
        tier = self._find(image)
        if tier is Tier.DEVICE:
            self._keep(image, self._sessions[image])
            return tier, 0.0
        self._host.put(image, self._times.bytes.host)
        if tier is not Tier.HOST:
            self._disk.put(image, self._times.bytes.disk)
        self._keep(image, _Session())
        return tier, self._times.draw(READYING[tier], self._rng)

    def segment(self, image: int, clicks: int) -> tuple[Tier, float]:
        """The same, and the seconds of the click that is number ``clicks`` of an object; a session that was dropped
        since has to see all clicks before it again."""
        tier, seconds = self.prepare(image)
        session = self._sessions[image]
        first_unseen = min(session.seen, clicks - 1) + 1
        for number in range(first_unseen, clicks + 1):
            seconds += self._times.draw(Part.FIRST_CLICK if number == 1 else Part.NEXT_CLICK, self._rng)
        self._keep(image, _Session(clicks, session.maps + clicks + 1 - first_unseen))
        return tier, seconds

    def _find(self, image: int) -> Tier:
        shelves = ((Tier.DEVICE, self._device), (Tier.HOST, self._host), (Tier.DISK, self._disk))
        return next((tier for tier, shelf in shelves if image in shelf), Tier.NETWORK)

    def _keep(self, image: int, session: _Session) -> None:
        """As the newest session."""
        self._sessions[image] = session
        for evicted in self._device.put(image, self._times.bytes.device + session.maps * self._times.bytes.click):
            del self._sessions[evicted]
