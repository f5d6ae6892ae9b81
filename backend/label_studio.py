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


def create_blueprint(settings: Settings, segmenter: Segmenter, images: ImageFetcher, queue: ClickQueue) -> Blueprint:
    """Label Studio's endpoints but /health."""
    blueprint = Blueprint("label_studio", __name__)
    problem_log = ProblemLog()

    def model_version() -> str:
        return str(segmenter.describe()["model_version"])

    @blueprint.post("/setup")
    def setup() -> Response:
        request = parse_body(SetupRequest)
        if request.label_config:
            problem_log.report(request.label_config)
        return jsonify(model_version=model_version())

    @blueprint.get("/versions")
    def versions() -> Response:
        return jsonify(versions=[model_version()])

    @blueprint.post("/webhook")
    def webhook() -> tuple[str, int]:
        # Nothing is trained, so no event matters; but an error would show up inside a user's submit.
        return "", 204

    @blueprint.post("/predict")
    @queue.admit()
    def predict() -> Response:
        request = parse_body(PredictRequest)
        if request.params.context is None:
            # One empty list a task is the one answer that makes Label Studio store nothing.
            return jsonify(results=[[] for _ in request.tasks])
        problem_log.report(request.label_config)
        prompts = parse_prompts(request)
        if not prompts:
            return render([], 0.0)
        try:
            return answer(prompts)
        except Obsolete:
            return render([], 0.0)

    def answer(prompts: Sequence[Prompt]) -> Response:
        with queue.join(prompts[0].chain) as ticket:
            with stages.measure("fetch"):
                image = images.fetch_image(prompts[0].image_reference, prompts[0].task_id)
            size = (image.shape[0], image.shape[1])
            shapes = [find_answer_shape(prompt.region, size, images.max_pixels) for prompt in prompts]
            segmentations = [segment_in_turn(ticket, image, prompt) for prompt in prompts]
        with stages.measure("encode"):
            regions = []
            for prompt, shape, found in zip(prompts, shapes, segmentations, strict=True):
                regions += render_regions(prompt, resize_mask(found.mask, shape), found.score, settings)
            return render(regions, statistics.mean(found.score for found in segmentations))

    def segment_in_turn(ticket: Ticket, image: Image, prompt: Prompt) -> Segmentation:
        height, width = image.shape[:2]
        clicks, box = prompt.clicks(width, height), prompt.box(width, height)
        with contextlib.ExitStack() as turn:
            with stages.measure("wait"):
                turn.enter_context(queue.turn(ticket))
            segmentation = segmenter.segment(image, clicks, box)
        stages.record("attention", segmentation.timings.prepare_seconds)
        stages.record("clicks", segmentation.timings.clicks_seconds)
        return segmentation

    def render(regions: list[dict[str, Any]], score: float) -> Response:
        return jsonify(results=[render_answer(regions, score, model_version())])

    return blueprint
