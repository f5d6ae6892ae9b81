"""Desk 1: Label Studio's protocol for ML backends (1.23).

Its user interface shows none of our errors: a request that asks for nothing we give has an empty result, and what a
person must change is named in the log.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, jsonify

from backend import stages
from backend.click_queue import ClickQueue, Obsolete, Ticket
from backend.images import ImageFetcher
from backend.label_config import ProblemLog
from backend.label_studio_answer import find_answer_shape, render_answer, render_regions, resize_mask
from backend.label_studio_payload import PredictRequest, SetupRequest
from backend.label_studio_prompt import Prompt, parse_prompts
from backend.payload import parse_body
from backend.settings import Settings
from m2n2_engine.types import Image, Segmentation, Segmenter


class LabelStudioDesk:
    """What Label Studio's endpoints but /health answer; safe under threads."""

    def __init__(self, settings: Settings, segmenter: Segmenter, images: ImageFetcher, queue: ClickQueue) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self._images = images
        self._queue = queue
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

    def _answer(self, prompts: Sequence[Prompt]) -> Response:
        with self._queue.join(prompts[0].chain) as ticket:
            with stages.measure("fetch"):
                image = self._images.fetch_image(prompts[0].image_reference, prompts[0].task_id)
            size = (image.shape[0], image.shape[1])
            shapes = [find_answer_shape(prompt.region, size, self._images.max_pixels) for prompt in prompts]
            segmentations = [self._segment_in_turn(ticket, image, prompt) for prompt in prompts]
        with stages.measure("encode"):
            regions = []
            for prompt, shape, found in zip(prompts, shapes, segmentations, strict=True):
                regions += render_regions(prompt, resize_mask(found.mask, shape), found.score, self._settings)
            return self._render(regions, statistics.mean(found.score for found in segmentations))

    def _segment_in_turn(self, ticket: Ticket, image: Image, prompt: Prompt) -> Segmentation:
        height, width = image.shape[:2]
        clicks, box = prompt.clicks(width, height), prompt.box(width, height)
        with contextlib.ExitStack() as turn:
            with stages.measure("wait"):
                turn.enter_context(self._queue.turn(ticket))
            segmentation = self._segmenter.segment(image, clicks, box)
        stages.record("attention", segmentation.timings.prepare_seconds)
        stages.record("clicks", segmentation.timings.clicks_seconds)
        return segmentation

    def _render(self, regions: list[dict[str, Any]], score: float) -> Response:
        return jsonify(results=[render_answer(regions, score, self._model_version())])

    def _model_version(self) -> str:
        return str(self._segmenter.describe()["model_version"])
