"""Can a click be answered now, and if not, why."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Readiness:
    """state: ``loading``, ``ready`` or ``failed``. reason: what went wrong and what to do, where something did."""

    state: str
    reason: str | None

    @property
    def is_ready(self) -> bool:
        """Weights loaded, kernels compiled, device usable."""
        return self.state == "ready"


def read_readiness(facts: Mapping[str, str | int | float | bool | None]) -> Readiness:
    """Readiness from what a segmenter says of itself; one that says nothing of it has no loading to do."""
    if facts.get("device_usable") is False:
        return Readiness("failed", f"the device {facts.get('device')} does not answer any more: restart this server")
    reason = facts.get("reason")
    return Readiness(str(facts.get("state", "ready")), None if reason is None else str(reason))
