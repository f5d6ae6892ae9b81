"""Is the server alive, is it ready: for Label Studio, load balancers and people."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from m2n2_engine.types import Segmenter


def create_blueprint(segmenter: Segmenter) -> Blueprint:
    """GET /health (also /) and GET /ready. Both answer at once, also while the model loads or works."""
    blueprint = Blueprint("monitoring", __name__)

    @blueprint.get("/")
    @blueprint.get("/health")
    def health() -> Response:
        return jsonify({"status": "UP", **segmenter.describe()})

    @blueprint.get("/ready")
    def ready() -> tuple[Response, int]:
        # A segmenter that says nothing of its state is one that has no loading to do.
        facts = segmenter.describe()
        state = facts.get("state", "ready")
        return jsonify(state=state, reason=facts.get("reason")), 200 if state == "ready" else 503

    return blueprint
