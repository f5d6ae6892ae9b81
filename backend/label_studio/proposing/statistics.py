"""What is counted of proposals, since the start."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

from backend.label_studio.payload import PROPOSAL_PREFIX
from backend.label_studio.proposing.accepted import Annotation
from backend.label_studio.proposing.ready import Proposed

_UNCHANGED_ORIGIN = "prediction"
"""What the page of 1.23.2 notes of a region of a prediction that nobody changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProposalStatistics:
    """tasks: those that proposals were looked for in. proposed: those that have some. regions: masks in these.
    failures: tasks in which looking failed. kept, corrected: regions of submitted annotations that were proposals and
    were left as they were, or changed."""

    tasks: int = 0
    proposed: int = 0
    regions: int = 0
    failures: int = 0
    kept: int = 0
    corrected: int = 0


class ProposalCounts:
    """Safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = ProposalStatistics()

    def read(self) -> Mapping[str, int]:
        """A consistent snapshot, by the names of `ProposalStatistics`."""
        with self._lock:
            return dataclasses.asdict(self._counts)

    def count_made(self, proposed: Proposed) -> None:
        """Proposals were looked for in a task."""
        regions = 0 if proposed.prediction is None else len(proposed.prediction["result"])
        self._add(tasks=1, proposed=int(regions > 0), regions=regions)

    def count_failure(self) -> None:
        """Looking for them failed."""
        self._add(tasks=1, failures=1)

    def count_reviewed(self, annotation: Annotation) -> None:
        """An annotation was submitted."""
        proposed = [region for region in annotation.list_regions() if region.id.startswith(PROPOSAL_PREFIX)]
        kept = sum(region.origin == _UNCHANGED_ORIGIN for region in proposed)
        self._add(kept=kept, corrected=len(proposed) - kept)

    def _add(self, **more: int) -> None:
        with self._lock:
            now = {name: getattr(self._counts, name) + count for name, count in more.items()}
            self._counts = dataclasses.replace(self._counts, **now)
