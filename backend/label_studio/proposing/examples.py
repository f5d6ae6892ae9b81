"""The examples of each project: its newest accepted masks, looked after as annotators go on."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from backend.label_studio.label_config import ANSWER_TAGS, LabelConfig, parse_label_config
from backend.label_studio.proposing.accepted import AcceptedMask, Annotation, read_masks
from backend.label_studio.proposing.source import AnnotatedTask, AnnotationSource
from m2n2_engine.errors import DeadlineExceeded, M2N2Error
from m2n2_engine.types import Deadline

_LONGEST_FRESH_SECONDS = 60.0
"""Age at which annotations are looked at again without an event. Here: where Label Studio's webhook does not arrive."""

_MOST_TASKS = 30
"""Annotated tasks of a project that are looked at for examples, the newest. Here: each that changed is a request."""

_MOST_EXAMPLES = 24
"""Masks of a project that are examples. Here: eight labels with three images each."""

_KEPT_PROJECTS = 256
_KEPT_BYTES = 64 * 1024 * 1024
"""Of all packed masks. Here: three thousand with ragged borders."""

_DIGEST_BYTES = 4

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ExampleSet:
    """Masks that are examples, the newest first. digest: hex digits that stand for all of them."""

    masks: tuple[AcceptedMask, ...] = ()

    @property
    def digest(self) -> str:
        """Eight hex digits."""
        together = " ".join(sorted(mask.digest for mask in self.masks))
        return hashlib.blake2b(together.encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def render_version(self, model_version: str) -> str:
        """What Label Studio keeps with proposals by these examples of this model."""
        return f"{model_version}-{len(self.masks)}-examples-{self.digest}" if self.masks else model_version


@dataclasses.dataclass(slots=True, eq=False)
class _Project:
    """events: how many had happened when it was looked at. read: the masks of tasks by their stamps."""

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    label_config: str = ""
    looked_at: float = float("-inf")
    events: int = -1
    found: ExampleSet = dataclasses.field(default_factory=ExampleSet)
    read: dict[object, tuple[AcceptedMask, ...]] = dataclasses.field(default_factory=dict)

    @property
    def kept_bytes(self) -> int:
        return sum(len(mask.packed) for masks in list(self.read.values()) for mask in masks)


class AcceptedExamples:
    """Safe under threads.

    source: of annotations. per_label: images that are examples of one label. most_pixels: of a mask. review: told of
    each annotation that was submitted since its project was first looked at.
    """

    def __init__(
        self,
        source: AnnotationSource,
        per_label: int,
        most_pixels: int,
        review: Callable[[Annotation], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._per_label = per_label
        self._most_pixels = most_pixels
        self._review = review
        self._clock = clock
        self._lock = threading.Lock()
        self._projects: OrderedDict[int, _Project] = OrderedDict()
        self._events = 0

    def mark_changed(self) -> None:
        """An event arrived: whoever asks next looks at the annotations again."""
        with self._lock:
            self._events += 1

    def peek(self, project: int) -> ExampleSet:
        """What was found last; waits for nothing."""
        with self._lock:
            known = self._projects.get(project)
        return ExampleSet() if known is None else known.found

    def find(self, project: int, label_config: str, deadline: Deadline) -> ExampleSet:
        """The examples of a project as they are now. What was found before where Label Studio cannot be asked, with a
        line in the log.

        Raises DeadlineExceeded, and InvalidRequest where the labelling configuration is none.
        """
        known = self._open(project)
        with deadline.hold(known.lock, "look at the annotations"):
            if known.label_config != label_config:
                known.label_config, known.looked_at, known.read = label_config, float("-inf"), {}
            events = self._events
            if events == known.events and self._clock() - known.looked_at < _LONGEST_FRESH_SECONDS:
                return known.found
            try:
                known.found = self._look(project, known, deadline)
            except DeadlineExceeded:
                raise
            except M2N2Error as error:
                logger.warning("no newer examples for proposals: %s: %s", type(error).__name__, error)
            known.looked_at, known.events = self._clock(), events
        self._make_room()
        return known.found

    def find_before(self, project: int, task: int, label_config: str, deadline: Deadline) -> tuple[AcceptedMask, ...]:
        """The masks of the nearest annotated task before another one; none where Label Studio cannot be asked."""
        known = self._open(project)
        config = parse_label_config(label_config)
        with deadline.hold(known.lock, "look at the image before"):
            try:
                earlier = self._source.find_before(project, task)
                return () if earlier is None else self._read(earlier, known.read, config)
            except M2N2Error as error:
                logger.warning("no example of the image before: %s: %s", type(error).__name__, error)
                return ()

    def _open(self, project: int) -> _Project:
        with self._lock:
            known = self._projects.setdefault(project, _Project())
            self._projects.move_to_end(project)
            return known

    def _look(self, project: int, known: _Project, deadline: Deadline) -> ExampleSet:
        config = parse_label_config(known.label_config)
        is_first = known.events < 0
        deadline.check("look at the annotations")
        tasks = self._source.list_newest(project, _MOST_TASKS)
        wanted, counts = _list_labels(config), collections.Counter[str]()
        chosen: list[AcceptedMask] = []
        looked: dict[object, tuple[AcceptedMask, ...]] = {}
        for task in tasks:
            deadline.check("look at the annotations")
            is_new = task.stamp not in known.read
            looked[task.stamp] = self._read(task, known.read, config, review=is_new and not is_first)
            # What was read counts also where no time is left for the rest.
            known.read[task.stamp] = looked[task.stamp]
            for mask in looked[task.stamp]:
                if counts[mask.label] < self._per_label and len(chosen) < _MOST_EXAMPLES:
                    counts[mask.label] += 1
                    chosen.append(mask)
            if len(chosen) == _MOST_EXAMPLES or (wanted and all(counts[label] >= self._per_label for label in wanted)):
                break
        known.read = looked
        return ExampleSet(tuple(chosen))

    def _read(
        self,
        task: AnnotatedTask,
        read: dict[object, tuple[AcceptedMask, ...]],
        config: LabelConfig,
        *,
        review: bool = False,
    ) -> tuple[AcceptedMask, ...]:
        if task.stamp in read or task.id is None:
            return read.get(task.stamp, ())
        annotation = self._source.fetch_accepted(task.id)
        if annotation is None:
            return ()
        if review:
            self._review(annotation)
        return tuple(read_masks(task, annotation, config, self._most_pixels))

    def _make_room(self) -> None:
        """Forget the projects that were asked for longest ago; the newest stays."""
        with self._lock:
            used = sum(known.kept_bytes for known in self._projects.values())
            while len(self._projects) > 1 and (used > _KEPT_BYTES or len(self._projects) > _KEPT_PROJECTS):
                _, dropped = self._projects.popitem(last=False)
                used -= dropped.kept_bytes


def join_examples(
    before: Iterable[AcceptedMask], newest: Sequence[AcceptedMask], task: int | None
) -> list[AcceptedMask]:
    """Those of the image before first, each once, and none of the task itself."""
    unique = {mask.digest: mask for mask in (*before, *newest) if mask.image.task_id != task}
    return list(unique.values())


def _list_labels(config: LabelConfig) -> set[str]:
    """The labels that masks can have; none where they come from the tasks."""
    controls = config.find_controls(ANSWER_TAGS)
    if any(control.labels is None for control in controls):
        return set()
    return {label for control in controls for label in control.labels or ()}
