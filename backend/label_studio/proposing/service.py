"""Answers Label Studio's requests for predictions with proposals, which are made in the background.

Clicks go first. A task that was opened waits a little for its proposals; a request for many tasks waits for each, until
its deadline. What was made too late is kept for the next request. Nothing that goes wrong here keeps a task from being
opened: it has no proposals, and the log says why.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from backend.errors import InvalidRequest
from backend.images.cache import TaskImage
from backend.label_studio.client import LabelStudioClient
from backend.label_studio.payload import PredictRequest, Task
from backend.label_studio.proposing.accepted import Annotation
from backend.label_studio.proposing.examples import AcceptedExamples, ExampleSet
from backend.label_studio.proposing.proposer import ImageProposer
from backend.label_studio.proposing.ready import Prediction, ReadyProposals
from backend.label_studio.proposing.source import AnnotationSource
from backend.label_studio.proposing.statistics import ProposalCounts
from backend.label_studio.proposing.wanted import Wanted, find_wanted, list_wanted, read_project
from backend.scheduling.clicks import ClickService, Obsolete, Ticket
from backend.scheduling.preparation import BackgroundPreparation
from backend.settings import Settings
from m2n2_engine.errors import DeadlineExceeded, M2N2Error
from m2n2_engine.types import Deadline, Picture

_WAITING_SHARE = 4
"""Of the places for predictions, one in so many may wait for proposals. Here: the others are for clicks."""

_LEAST_PATIENCE_SECONDS = 1.0
"""For one answer of Label Studio's about annotations. Here: twenty times what it takes."""

Prepare = Callable[[Sequence[TaskImage]], None]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """An image whose proposals are to be made. done: they are, or nobody will."""

    wanted: Wanted
    done: threading.Event = dataclasses.field(default_factory=threading.Event)


class Proposals:
    """Safe under threads; implements ``scheduling.preparation.Follower``."""

    def __init__(
        self, settings: Settings, client: LabelStudioClient, clicks: ClickService, preparation: BackgroundPreparation
    ) -> None:
        self.counts = ProposalCounts()
        self._settings = settings
        self._clicks = clicks
        self._preparation = preparation
        source = AnnotationSource(client)
        most_pixels = settings.max_image_megapixels * 1_000_000
        self._examples = AcceptedExamples(source, settings.propose_examples, most_pixels, self._review)
        self._proposer = ImageProposer(settings, clicks, self._examples)
        self._ready = ReadyProposals()
        self._lock = threading.Lock()
        self._jobs: dict[TaskImage, _Job] = {}
        self._waiting = threading.BoundedSemaphore(max(1, settings.prediction_places // _WAITING_SHARE))

    def mark_changed(self) -> None:
        """An event of Label Studio's arrived: annotations may have changed."""
        self._examples.mark_changed()

    def find_version(self, project: object) -> str:
        """The version that proposals of a project have as far as is known now; Label Studio asks anew for tasks whose
        predictions have another one. Waits for nothing."""
        number = str(project).partition(".")[0]
        known = self._examples.peek(int(number)) if number.isdecimal() else ExampleSet()
        return known.render_version(self._clicks.model_version)

    def want_next(self, request: PredictRequest, tasks: Sequence[Task]) -> list[TaskImage]:
        """Have proposals made for tasks that nobody has opened yet, once their images are prepared. Returns these."""
        found = [find_wanted(request, task) for task in tasks]
        return [self._want(wanted).wanted.image for wanted in found if wanted is not None]

    def answer(self, request: PredictRequest, deadline: Deadline, prepare: Prepare) -> list[Any]:
        """A prediction for each task that has proposals, else an empty list, in the order of the tasks.

        deadline: of the request. prepare: puts these images, then those of the request into the background's queue.
        """
        is_opened = len(request.tasks) == 1
        soon = Deadline.after(self._settings.propose_wait_seconds) if is_opened else deadline
        wanted = list_wanted(request) if self._has_examples(request, soon) else [None for _ in request.tasks]
        if not any(wanted):
            prepare([])
            return [[] for _ in request.tasks]
        is_waiting = self._waiting.acquire(blocking=False)
        try:
            until = soon if is_waiting else Deadline.after(0)
            if is_opened:
                self._answer_opened(wanted, until, prepare)
            else:
                self._answer_many(wanted, until)
        finally:
            if is_waiting:
                self._waiting.release()
        return [self._find_answer(one) for one in wanted]

    def follow(self, image: TaskImage, picture: Picture, ticket: Ticket, is_in_the_way: Callable[[], bool]) -> None:
        """Make the proposals of an image that was prepared, where they are wanted."""
        with self._lock:
            job = self._jobs.pop(image, None)
        if job is None:
            return
        try:
            known = self._ready.get(job.wanted.key)
            proposed = self._proposer.propose(job.wanted, picture, ticket, known, is_in_the_way)
            if proposed is not known:
                self._ready.put(job.wanted.key, proposed)
                self.counts.count_made(proposed)
        except Obsolete:
            self._put_off(job)
            return
        except Exception as error:
            self.counts.count_failure()
            if isinstance(error, M2N2Error):
                logger.warning("no proposals for task %s: %s: %s", image.task_id, type(error).__name__, error)
            else:
                logger.error("no proposals for task %s", image.task_id, exc_info=error)
        job.done.set()

    def leave(self, image: TaskImage) -> None:
        """An image left the queue unprepared: whoever waits for its proposals waits no longer."""
        with self._lock:
            job = self._jobs.pop(image, None)
        if job is not None:
            job.done.set()

    def _put_off(self, job: _Job) -> None:
        """Back into the queue: a task that somebody has opened goes first."""
        with self._lock:
            other = self._jobs.setdefault(job.wanted.image, job)
        if other is not job:
            job.done.set()
        self._preparation.add([job.wanted.image], is_opened=False, follower=self)

    def _has_examples(self, request: PredictRequest, deadline: Deadline) -> bool:
        """Whether there may be any; not known in time counts as yes."""
        project = read_project(request)
        if project is None:
            return False
        try:
            return bool(self._examples.find(project, request.label_config, deadline).masks)
        except DeadlineExceeded:
            return True
        except InvalidRequest as error:
            logger.warning("no proposals: %s", error)
            return False

    def _answer_opened(self, wanted: Sequence[Wanted | None], deadline: Deadline, prepare: Prepare) -> None:
        """Have the proposals of the one task made, and wait for them a little."""
        (one,) = wanted
        job = None if one is None or self._is_current(one) else self._want(one)
        prepare([] if one is None else [one.image])
        if job is not None:
            job.done.wait(deadline.remaining_seconds)

    def _answer_many(self, wanted: Sequence[Wanted | None], deadline: Deadline) -> None:
        """Have those of all tasks made, some at a time so that none drives another out of the queue."""
        missing = collections.deque(one for one in wanted if one is not None and not self._is_current(one))
        at_once = max(1, self._settings.prepare_ahead // 2)
        under_way: collections.deque[_Job] = collections.deque()
        while missing or under_way:
            while missing and len(under_way) < at_once:
                job = self._want(missing.popleft())
                self._preparation.add([job.wanted.image], is_opened=False, follower=self)
                under_way.append(job)
            if not under_way.popleft().done.wait(deadline.remaining_seconds):
                late = len(missing) + len(under_way) + 1
                logger.warning("%d tasks have no proposals yet: ask for predictions again", late)
                return

    def _want(self, wanted: Wanted) -> _Job:
        with self._lock:
            return self._jobs.setdefault(wanted.image, _Job(wanted))

    def _is_current(self, wanted: Wanted) -> bool:
        proposed = self._ready.get(wanted.key)
        version = self._examples.peek(wanted.key.project).render_version(self._clicks.model_version)
        return proposed is not None and proposed.version == version

    def _find_answer(self, wanted: Wanted | None) -> Prediction | list[Any]:
        """The newest proposals of a task, also by older examples where those by the newest are late."""
        proposed = None if wanted is None else self._ready.get(wanted.key)
        return [] if proposed is None or proposed.prediction is None else proposed.prediction

    def _review(self, annotation: Annotation) -> None:
        self.counts.count_reviewed(annotation)


def create_proposals(settings: Settings, clicks: ClickService, preparation: BackgroundPreparation) -> Proposals | None:
    """The proposals of the settings; None where they are off."""
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if settings.propose == "off" or url is None or key is None:
        return None
    # Who opens a task waits for an answer: a Label Studio that gives none is to be given up soon.
    patience = min(settings.read_timeout_seconds, max(settings.propose_wait_seconds, _LEAST_PATIENCE_SECONDS))
    return Proposals(settings, LabelStudioClient(url, key, patience), clicks, preparation)
