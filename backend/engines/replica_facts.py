"""The facts of several engines as those of one."""

from __future__ import annotations

from collections.abc import Mapping

Facts = Mapping[str, str | int | float | bool | None]

_SUMMED = ("session_", "host_", "disk_", "device_memory_")
_COUNTERS = ("_hits", "_misses", "_evictions", "_failures")
# Replicas on one machine, or on shared storage, have one folder: each tells of all of it.
_SHARED = ("disk_images", "disk_bytes", "disk_budget_bytes")


class ReplicaFacts:
    """Remembers the counters of replicas that are gone, so that a sum of counters never falls."""

    def __init__(self) -> None:
        self._seen: dict[str, Facts] = {}

    def merge(self, living: Mapping[str, Facts]) -> Facts:
        """One engine's facts, of all replicas.

        living: the facts of those that answer, by a name that no other replica ever has. Memory and images are summed
        over them, a disk cache counts as one that all share, counters are summed over all that were ever seen. With
        ``replicas``, how many answer; where none does, ``state`` and ``reason`` say so.
        """
        self._seen |= living
        if not living:
            reason = "no replica of the engine answers: look at the Serve application in `serve status`"
            return {"model_version": "m2n2", "replicas": 0, "state": "loading", "reason": reason}
        merged: dict[str, str | int | float | bool | None] = dict(next(iter(living.values())))
        for name in {name for facts in living.values() for name in facts if name.startswith(_SUMMED)}:
            counted = self._seen if name.endswith(_COUNTERS) else living
            values = [value for facts in counted.values() if isinstance(value := facts.get(name), int | float)]
            merged[name] = max(values) if name in _SHARED else sum(values)
        merged["device_usable"] = any(facts.get("device_usable", True) for facts in living.values())
        return {**merged, "replicas": len(living)}
