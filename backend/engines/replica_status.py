"""The status of several engines as that of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from m2n2_engine.types import EngineStatus, State, Tier, TierStatus

_NONE_ANSWERS = "no replica of the engine answers: look at the Serve application in `serve status`"


class ReplicaStatus:
    """Remembers the counters of replicas that are gone, so that a sum of counters never falls."""

    def __init__(self) -> None:
        self._seen: dict[str, EngineStatus] = {}

    def merge(self, living: Mapping[str, EngineStatus]) -> EngineStatus:
        """One engine's status, of all replicas.

        living: of those that answer, by a name that no other replica ever has. Memory and images are summed over them,
        a disk cache counts as one that all share, counters are summed over all that were ever seen. The whole is ready
        where one of them is.
        """
        self._seen |= living
        if not living:
            return EngineStatus("m2n2", State.LOADING, _NONE_ANSWERS, replicas=0)
        statuses, seen = list(living.values()), list(self._seen.values())
        first = next((status for status in statuses if status.is_ready), statuses[0])
        return dataclasses.replace(
            first,
            replicas=len(living),
            device_memory_used_bytes=_sum(status.device_memory_used_bytes for status in statuses),
            device_memory_bytes=_sum(status.device_memory_bytes for status in statuses),
            disk_write_failures=_sum(status.disk_write_failures for status in seen),
            tiers={tier: _merge_tier(tier, statuses, seen) for tier in first.tiers},
        )


def _merge_tier(tier: Tier, living: Sequence[EngineStatus], seen: Sequence[EngineStatus]) -> TierStatus:
    now, ever = ([status.tiers[tier] for status in statuses if tier in status.tiers] for statuses in (living, seen))
    # Replicas on one machine, or on shared storage, have one folder: each tells of all of it.
    combine = max if tier is Tier.DISK else sum
    return TierStatus(
        images=combine(one.images for one in now),
        bytes=combine(one.bytes for one in now),
        budget_bytes=combine(one.budget_bytes for one in now),
        hits=sum(one.hits for one in ever),
        misses=sum(one.misses for one in ever),
        evictions=sum(one.evictions for one in ever),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
