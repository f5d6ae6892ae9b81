"""Is the server alive, is it ready, how is it doing: for Label Studio, load balancers and people."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from backend.engines.readiness import read_readiness
from backend.monitoring.metrics import CONTENT_TYPE, Metrics
from m2n2_engine.types import Segmenter


def create_blueprint(segmenter: Segmenter, metrics: Metrics) -> Blueprint:
    """GET /health (also /), GET /ready and GET /metrics. All answer at once, also while the model loads or works."""
    blueprint = Blueprint("monitoring", __name__)

    @blueprint.get("/")
    @blueprint.get("/health")
    def health() -> Response:
        return jsonify({"status": "UP", **segmenter.describe()})

    @blueprint.get("/ready")
    def ready() -> tuple[Response, int]:
        readiness = read_readiness(segmenter.describe())
        return jsonify(state=readiness.state, reason=readiness.reason), 200 if readiness.is_ready else 503

    @blueprint.get("/metrics")
    def render_metrics() -> Response:
        return Response(metrics.render(), content_type=CONTENT_TYPE)

    return blueprint
