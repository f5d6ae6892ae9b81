"""What pages of Label Studio have asked for and may still show: boxes and key points that are not accepted yet.

A request does not say this. It has every region of one kind, label and image: boxes drawn by hand beside the smart one,
and never boxes and key points together. But each region that asks is the newest of a request once, and the draft that
the page saves shows whether it is still there. Nothing here is needed for an answer: after a restart each request is
answered by what it holds alone.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from backend.images.cache import TaskImage
from backend.label_studio.payload import DraftRegion, KeyPoint, Rectangle, Region, Task

_UNSAVED_SECONDS = 8.0
"""A region may be on the page and in no draft for so long. Label Studio 1.23 saves 5 s after a change; the rest is for
slow networks. Here."""

_KEPT_REGIONS = 4096
"""Of all pages. Here: twenty clicks each of two hundred annotators."""

_KEPT_SUBJECT_REGIONS = 256
"""Of one label on one image. Here: more than the clicks that one request may have."""


_LONGEST_NAMES = 1000
"""Characters of the labels, names and id of a region. Here: ten long labels."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What regions have in common that may be about one object. key: None where a task without a number has none."""

    key: int | None

    @classmethod
    def of(cls, project: object, image: TaskImage, label_config: str, region: Region) -> Subject:
        """Project, task and what is shown, and of a region its labels, image and page. Where the configuration or the
        image's reference changes, the page with the older regions is no more."""
        shown = label_config, image.reference, region.to_name, region.item_index, *region.value.labels
        # Names and references may be long: only their hash is kept.
        return cls(None if image.task_id is None else hash((project, image.task_id, *shown)))


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """What Label Studio holds of a task. drafts: hash of which drafts of the annotator there are, and when each was
    saved. drafted, finished: ids of the regions in these drafts, and in annotations."""

    drafts: int
    drafted: frozenset[str]
    finished: frozenset[str]

    @classmethod
    def of(cls, task: Task, drafted: Iterable[DraftRegion]) -> Saved:
        """That of a request's task, and of the regions in its drafts."""
        annotations = task.annotations if isinstance(task.annotations, list) else []
        results = (one.get("result") for one in annotations if isinstance(one, dict))
        regions = (region for result in results if isinstance(result, list) for region in result)
        ids = (region.get("id") for region in regions if isinstance(region, dict))
        return cls(
            hash(tuple(f"{draft.id} {draft.updated_at}" for draft in task.drafts)),
            frozenset(region.id for region in drafted),
            frozenset(one for one in ids if isinstance(one, str)),
        )


@dataclasses.dataclass(slots=True)
class _Asked:
    """A region that asked. seen_at, drafts: when it was last in a request, and what was saved then. answers: ids of the
    masks that it was answered with."""

    region: Region
    seen_at: float
    drafts: int
    answers: set[str]


class PendingRegions:
    """Regions that asked; safe under threads. clock: in seconds, and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._subjects: OrderedDict[Subject, dict[str, _Asked]] = OrderedDict()
        self._count = 0

    def note(self, subject: Subject, regions: Sequence[Region], saved: Saved) -> None:
        """These regions ask now, oldest first. Those without an id, or with very long names, are not remembered."""
        if subject.key is None:
            return
        with self._lock:
            known = self._subjects.setdefault(subject, {})
            self._subjects.move_to_end(subject)
            self._count -= len(known)
            for region in regions:
                if region.id and _count_characters(region) <= _LONGEST_NAMES:
                    before = known.pop(region.id, None)
                    answers = set() if before is None else before.answers
                    known[region.id] = _Asked(region, self._clock(), saved.drafts, answers)
            while len(known) > _KEPT_SUBJECT_REGIONS:
                del known[next(iter(known))]
            self._count += len(known)
            while self._count > _KEPT_REGIONS:
                _, dropped = self._subjects.popitem(last=False)
                self._count -= len(dropped)

    def note_answers(self, subject: Subject, asked: Iterable[str], answers: Iterable[str]) -> None:
        """Regions with these ids were answered with masks of those ids; whoever accepts one accepts all."""
        ids = set(answers)
        with self._lock:
            known = self._subjects.get(subject, {})
            for one in asked:
                if one in known:
                    known[one].answers |= ids

    def find_boxes(self, subject: Subject, saved: Saved) -> dict[str, Rectangle]:
        """The boxes that asked and are not finished, by their ids, oldest first; some may not be on a page any more."""
        return {one.region.id: one.region for one in self._list(subject, saved) if isinstance(one.region, Rectangle)}

    def find_pending_boxes(self, subject: Subject, saved: Saved) -> list[Rectangle]:
        """Those of them that are on the page of whoever asks, as far as the draft tells."""
        pending = (one.region for one in self._list(subject, saved) if self._is_pending(one, saved))
        return [region for region in pending if isinstance(region, Rectangle)]

    def knows(self, subject: Subject, region: Region) -> bool:
        """Whether a region asked before, finished or not."""
        with self._lock:
            return region.id in self._subjects.get(subject, {})

    def find_pending_points(self, subject: Subject, saved: Saved) -> list[KeyPoint]:
        """The same of key points, with their signs."""
        pending = (one.region for one in self._list(subject, saved) if self._is_pending(one, saved))
        return [region for region in pending if isinstance(region, KeyPoint)]

    def _list(self, subject: Subject, saved: Saved) -> list[_Asked]:
        held = saved.drafted | saved.finished
        with self._lock:
            known = list(self._subjects.get(subject, {}).values())
        return [one for one in known if one.region.id not in saved.finished and not one.answers & held]

    def _is_pending(self, one: _Asked, saved: Saved) -> bool:
        # Where another draft was saved since, it would have the region: so it is gone, or another annotator's.
        may_be_unsaved = one.drafts == saved.drafts and self._clock() - one.seen_at < _UNSAVED_SECONDS
        return one.region.id in saved.drafted or may_be_unsaved


def _count_characters(region: Region) -> int:
    return sum(map(len, (region.id, region.from_name, region.to_name, *region.value.labels)))
