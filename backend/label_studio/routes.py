"""Desk 1: Label Studio's protocol for ML backends (1.23).

Its user interface shows none of our errors: a request that asks for nothing we give has an empty result, and what a
person must change is named in the log.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, jsonify

from backend.http import timings
from backend.http.body import parse_body
from backend.images.fetcher import ImageFetcher, TaskImage
from backend.label_studio.answer import find_answer_shape, render_answer, render_regions, resize_mask
from backend.label_studio.label_config import ProblemLog, parse_label_config
from backend.label_studio.payload import PredictRequest, SetupRequest
from backend.label_studio.prompt import Prompt, parse_prompts
from backend.label_studio.tasks import NextTasks, find_images
from backend.scheduling.clicks import QueuedSegmenter
from backend.scheduling.preparation import BackgroundPreparation
from backend.scheduling.queue import ClickQueue, Obsolete
from backend.settings import Settings
from m2n2_engine.errors import InvalidRequest
from m2n2_engine.types import Segmenter


class LabelStudioDesk:
    """What Label Studio's endpoints but /health answer; safe under threads."""

    def __init__(
        self,
        settings: Settings,
        segmenter: Segmenter,
        images: ImageFetcher,
        queue: ClickQueue,
        preparation: BackgroundPreparation,
    ) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self._images = images
        self._queue = queue
        self._queued = QueuedSegmenter(segmenter, queue)
        self._preparation = preparation
        self._next_tasks = NextTasks(settings)
        self._problem_log = ProblemLog()

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
        request = parse_body(SetupRequest)
        if request.label_config:
            self._problem_log.report(request.label_config)
        return jsonify(model_version=self._model_version())

    def versions(self) -> Response:
        """The one version there is."""
        return jsonify(versions=[self._model_version()])

    def webhook(self) -> tuple[str, int]:
        """Takes every event."""
        # Nothing is trained, so no event matters; but an error would show up inside a user's submit.
        return "", 204

    def predict(self) -> Response:
        """Regions for the prompts of an interactive request, nothing for a batch. Raises Busy where too many are under
        way."""
        with self._queue.admit():
            request = parse_body(PredictRequest)
            if request.params.context is None:
                self._prepare_soon(request)
                # One empty list a task is the one answer that makes Label Studio store nothing.
                return jsonify(results=[[] for _ in request.tasks])
            self._problem_log.report(request.label_config)
            prompts = parse_prompts(request)
            if not prompts:
                return self._render([], 0.0)
            try:
                return self._answer(prompts)
            except Obsolete:
                return self._render([], 0.0)

    def _prepare_soon(self, request: PredictRequest) -> None:
        """Have the images of a batch prepared in the background. Opening a task sends a batch of one."""
        with contextlib.suppress(InvalidRequest):
            config = parse_label_config(request.label_config)
            images = [image for task in request.tasks for image in find_images(task, config)]
            is_opened = len(request.tasks) == 1
            look_ahead = functools.partial(self._next_tasks.find_images, request) if is_opened else None
            self._preparation.add(images, is_opened=is_opened, look_ahead=look_ahead)

    def _answer(self, prompts: Sequence[Prompt]) -> Response:
        name = TaskImage(prompts[0].image_reference, prompts[0].task_id)
        with self._queue.join(prompts[0].chain, name) as ticket:
            with timings.measure("fetch"):
                image = self._images.fetch_image(name.reference, name.task_id)
            height, width = image.shape[:2]
            shapes = [find_answer_shape(prompt.region, (height, width), self._images.max_pixels) for prompt in prompts]
            asked = [(prompt.clicks(width, height), prompt.box(width, height)) for prompt in prompts]
            self._queued.prepare(ticket, image)
            segmentations = [self._queued.segment(ticket, image, clicks, box) for clicks, box in asked]
        with timings.measure("encode"):
            regions = []
            for prompt, shape, found in zip(prompts, shapes, segmentations, strict=True):
                regions += render_regions(prompt, resize_mask(found.mask, shape), found.score, self._settings)
            return self._render(regions, statistics.mean(found.score for found in segmentations))

    def _render(self, regions: list[dict[str, Any]], score: float) -> Response:
        return jsonify(results=[render_answer(regions, score, self._model_version())])

    def _model_version(self) -> str:
        return str(self._segmenter.describe()["model_version"])
