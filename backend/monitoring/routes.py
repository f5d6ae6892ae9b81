"""Is the server alive, is it ready, how is it doing: for Label Studio, load balancers and people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request
from werkzeug.datastructures import MIMEAccept

from backend.engines.background import EngineSource
from backend.monitoring.metrics import CONTENT_TYPE, Metrics
from backend.net.token_check import TokenCheck
from m2n2_engine.types import EngineStatus, Tier

_TIER_NAMES = {Tier.DEVICE: "session", Tier.HOST: "host", Tier.DISK: "disk"}
"""Tier -> how the names of its fields begin in /health."""


def create_blueprint(
    source: EngineSource, metrics: Metrics, token: TokenCheck | None, show_page: Callable[[], Response] | None = None
) -> Blueprint:
    """GET /health (also /), GET /ready and GET /metrics. All answer at once, also while the model loads or works.

    Args:
        source: of the engine.
        metrics: of the server.
        token: None where there is none to check. One that is refused makes no server unready: only people can change
            it.
        show_page: what / answers to browsers; None: the same as to all others.
    """
    blueprint = Blueprint("monitoring", __name__)

    @blueprint.get("/")
    def root() -> Response:
        response = health() if show_page is None or not wants_page(request.accept_mimetypes) else show_page()
        response.vary.add("Accept")
        return response

    @blueprint.get("/health")
    def health() -> Response:
        return jsonify({"status": "UP", **render_status(source.status())})

    @blueprint.get("/ready")
    def ready() -> tuple[Response, int]:
        status = source.status()
        details: dict[str, object] = {}
        if status.device_warning is not None:
            details["device_warning"] = status.device_warning
        if token is not None:
            details["label_studio_token"] = dataclasses.asdict(token.status())
        return jsonify(state=status.state, reason=status.reason, **details), 200 if status.is_ready else 503

    @blueprint.get("/metrics")
    def render_metrics() -> Response:
        return Response(metrics.render(), content_type=CONTENT_TYPE)

    return blueprint


def wants_page(accept: MIMEAccept) -> bool:
    """Whether a client at / wants a page and not JSON: browsers name HTML, Label Studio and load balancers do not."""
    named = {kind: quality for kind, quality in accept if quality > 0}
    return "text/html" in named and named["text/html"] >= named.get("application/json", 0)


def render_status(status: EngineStatus) -> dict[str, str | int | None]:
    """The status as flat JSON, what is not known left out."""
    names = (
        "backbone",
        "backbone_reason",
        "preset",
        "device",
        "device_warning",
        "precision",
        "grid",
        "threads",
        "replicas",
        "device_memory_used_bytes",
        "device_memory_bytes",
        "disk_write_failures",
    )
    known = {name: value for name in names if (value := getattr(status, name)) is not None}
    tiers = {
        f"{_TIER_NAMES[tier]}_{name}": getattr(found, name)
        for tier, found in status.tiers.items()
        for name in ("images", "bytes", "budget_bytes", "hits", "misses", "evictions")
    }
    return {"model_version": status.model_version, "state": status.state, "reason": status.reason, **known, **tiers}
