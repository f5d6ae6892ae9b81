"""Label Studio's protocol for ML backends (1.23).

Its user interface shows none of our errors: a request that asks for nothing we give has an empty result, and what a
person must change is named in the log.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, jsonify

from backend.errors import InvalidRequest
from backend.http.limits import HttpLimits
from backend.http.peers import Peers
from backend.http.request import Outcome, RequestRecord, current_record, parse_body
from backend.images.cache import TaskImage
from backend.label_studio.answer import answer_prompts, render_answer
from backend.label_studio.configuration.problems import ProblemLog
from backend.label_studio.events.routes import EventRoutes
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payload import PredictRequest, SetupRequest
from backend.label_studio.pending.memory import PendingRegions
from backend.label_studio.prompt import note_answer, parse_prompts
from backend.label_studio.proposing.service import Proposals
from backend.label_studio.tasks import NextTasks, explain_no_image, find_images, find_key, render_key
from backend.scheduling.clicks import ClickService, Obsolete
from backend.scheduling.preparation import BackgroundPreparation
from backend.settings import Settings

logger = logging.getLogger(__name__)


class LabelStudioRoutes:
    """What Label Studio's endpoints but /health answer; safe under threads."""

    def __init__(
        self,
        settings: Settings,
        limits: HttpLimits,
        clicks: ClickService,
        preparation: BackgroundPreparation,
        peers: Peers | None,
        proposals: Proposals | None,
    ) -> None:
        """proposals: None where none are made."""
        self._settings = settings
        self._limits = limits
        self._clicks = clicks
        self._preparation = preparation
        self._peers = peers
        self._proposals = proposals
        self._next_tasks = NextTasks(settings)
        self._problem_log = ProblemLog()
        self._pending = PendingRegions()
        self._events = EventRoutes(clicks, preparation)

    def create_blueprint(self) -> Blueprint:
        """The endpoints; every one of them answers at once but /predict."""
        blueprint = Blueprint("label_studio", __name__)
        blueprint.add_url_rule("/setup", view_func=self.setup, methods=["POST"])
        blueprint.add_url_rule("/versions", view_func=self.versions, methods=["GET"])
        blueprint.add_url_rule("/webhook", view_func=self.webhook, methods=["POST"])
        blueprint.add_url_rule("/predict", view_func=self.predict, methods=["POST"])
        return blueprint

    def setup(self) -> Response:
        """The model's version; what is wrong with the project's labelling configuration goes to the log."""
        request = parse_body(SetupRequest, self._limits)
        if request.label_config:
            self._problem_log.report(request.label_config)
        if self._proposals is not None:
            return jsonify(model_version=self._proposals.find_version(request.project))
        return jsonify(model_version=self._clicks.model_version)

    def versions(self) -> Response:
        """The one version there is."""
        return jsonify(versions=[self._clicks.model_version])

    def webhook(self) -> tuple[str, int]:
        """Takes every event; what it says is not read."""
        # An error would show up inside a user's submit. And since anybody may send one, all that it does is to have the
        # annotations looked at again.
        if self._proposals is not None:
            self._proposals.mark_changed()
        return "", 204

    def predict(self) -> Response:
        """Regions for the prompts of an interactive request, what an event asks for, proposals or nothing for a batch.
        Raises Busy where too many are under way."""
        record = current_record()
        with self._clicks.queue.admit():
            request = parse_body(PredictRequest, self._limits, keep=self._peers is not None)
            forwarded = None if self._peers is None else self._peers.forward(find_key(request), record)
            if forwarded is not None:
                return forwarded
            context = request.params.context
            if context is not None and context.named_event is not None:
                return jsonify(results=[self._events.answer(context.named_event, request, context, record)])
            if context is None:
                record.is_batch = True
                return jsonify(results=self._answer_batch(request, record))
            self._problem_log.report(request.label_config)
            answer: dict[str, Any] = render_answer([], 0.0, self._clicks.model_version)
            try:
                prompts = parse_prompts(request, self._pending)
                answer = answer_prompts(prompts, self._clicks, record, self._settings)
                note_answer(prompts, answer["result"], self._pending)
                record.outcome = Outcome.MASK if answer["result"] else Outcome.EMPTY
            except Obsolete:
                record.outcome = Outcome.OVERTAKEN
            return jsonify(results=[answer])

    def _answer_batch(self, request: PredictRequest, record: RequestRecord) -> list[Any]:
        """What each task of a batch has; nothing but where proposals are made. Opening a task sends a batch of one."""
        if self._proposals is not None:
            return self._proposals.answer(request, record.deadline, functools.partial(self._prepare_soon, request))
        self._prepare_soon(request)
        # One empty list a task is the one answer that makes Label Studio store nothing.
        return [[] for _ in request.tasks]

    def _prepare_soon(self, request: PredictRequest, first: Sequence[TaskImage] = ()) -> None:
        """Have these images, and then those of a batch, prepared in the background."""
        with contextlib.suppress(InvalidRequest):
            config = parse_label_config(request.label_config)
            shown = (image for task in request.tasks for image in find_images(task, config))
            # More than these would not be taken.
            others = (image for image in shown if image not in first)
            images = list(itertools.islice(itertools.chain(first, others), self._settings.prepare_ahead))
            is_opened = len(request.tasks) == 1
            if is_opened and not images and self._settings.prepare_ahead:
                logger.info("nothing is prepared: %s", explain_no_image(request.tasks[0], config))
            look_ahead = functools.partial(self._look_ahead, request) if is_opened else None
            self._preparation.add(images, is_opened=is_opened, look_ahead=look_ahead, follower=self._proposals)

    def _look_ahead(self, request: PredictRequest) -> list[TaskImage]:
        """The images of the tasks that come next, without those whose clicks another server will answer. Raises
        LabelStudioError, and InvalidRequest as for the request."""
        tasks, config = self._next_tasks.find(request), parse_label_config(request.label_config)
        first = [] if self._proposals is None else self._proposals.want_next(request, tasks)
        images = dict.fromkeys([*first, *(image for task in tasks for image in find_images(task, config))])
        return [image for image in images if self._peers is None or self._peers.owns(render_key(image.task_id))]
