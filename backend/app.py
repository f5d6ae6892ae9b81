"""The application: routes, limits, and one shape for every error."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, request
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import HTTPException

from backend.cvat.port import PREFIX, CvatPort
from backend.cvat.routes import CvatRoutes
from backend.engines.background import EngineSource
from backend.errors import Busy, ImageRefused, ImageUnavailable, NotReady
from backend.guide import routes as guide
from backend.http.auth import BasicAuth
from backend.http.limits import BodyLimit, HttpLimits
from backend.http.log_format import shorten
from backend.http.peers import choose_peers
from backend.http.request import RequestRecorder, current_record
from backend.images.fetcher import create_picture_cache
from backend.label_studio.proposing.service import create_proposals
from backend.label_studio.routes import LabelStudioRoutes
from backend.monitoring import routes as monitoring
from backend.monitoring.metrics import Metrics
from backend.net.token_check import create_token_check
from backend.playground.access import is_offered
from backend.playground.routes import PREPARE_PATH, SEGMENT_PATH, UPLOAD_PATH, PlaygroundRoutes
from backend.scheduling.clicks import ClickQueue, ClickService
from backend.scheduling.preparation import BackgroundPreparation
from backend.settings import Settings
from m2n2_engine.config import MEBIBYTE
from m2n2_engine.errors import DeadlineExceeded, InvalidInput, M2N2Error, OutOfMemory, WeightsError

_STATUSES: dict[type[M2N2Error], int] = {
    InvalidInput: 400,
    ImageRefused: 403,
    ImageUnavailable: 424,
    WeightsError: 503,
    OutOfMemory: 503,
    DeadlineExceeded: 503,
    NotReady: 503,
    Busy: 503,
    M2N2Error: 500,
}
_RETRY_AFTER_SECONDS = 10
_PLATFORMS = {
    "/predict": "label_studio",
    f"{PREFIX}/": "cvat",
    f"{PREFIX}/api/function_invocations": "cvat",
    f"{PREFIX}/propose": "cvat",
}
"""Whose clicks an endpoint takes."""

logger = logging.getLogger(__name__)


def create_app(settings: Settings, source: EngineSource) -> Flask:
    """The WSGI application. It holds no state but what the engine, the cache of pictures, the queue of clicks, that of
    images to prepare, the page's images and the metrics hold."""
    app = Flask("backend", static_folder=None)
    credentials = _choose_auth(settings)
    limits = _choose_limits(settings, credentials)
    # The worker of gunicorn finds them there.
    app.extensions["http_limits"] = limits
    registry = CollectorRegistry()
    RequestRecorder(settings.answer_timeout_seconds, registry, _PLATFORMS).register(app)
    if credentials is not None:
        credentials.register(app)
    queue = ClickQueue(settings.prediction_places, settings.computing_clicks)
    pictures = create_picture_cache(settings)
    clicks = ClickService(source, pictures, queue)
    preparation = BackgroundPreparation(settings.prepare_ahead, clicks)
    # Whoever ends the process finds them there.
    app.extensions.update(preparation=preparation, engine=source)
    token = create_token_check(settings)
    peers = choose_peers(settings, lambda: source.status().is_ready, registry)
    proposals = create_proposals(settings, clicks, preparation)
    count = None if proposals is None else proposals.counts.read
    metrics = Metrics(registry, source, queue, pictures, preparation, token, count)
    playground = PlaygroundRoutes(limits, clicks) if is_offered(settings) else None
    if playground is not None:
        app.register_blueprint(playground.create_blueprint())
    show_page = None if playground is None else playground.show_page
    app.register_blueprint(monitoring.create_blueprint(source, metrics, token, show_page))
    label_studio = LabelStudioRoutes(settings, limits, clicks, preparation, peers, proposals)
    app.register_blueprint(label_studio.create_blueprint())
    app.register_blueprint(CvatRoutes(settings, limits, source, clicks, peers).create_blueprint())
    app.register_blueprint(guide.create_blueprint())
    if settings.cvat_port is not None:
        # Flask's own way to wrap an application.
        app.wsgi_app = CvatPort(app.wsgi_app, settings.cvat_port)  # type: ignore[method-assign]
    app.register_error_handler(M2N2Error, _render_own_error)
    app.register_error_handler(HTTPException, _render_http_error)
    app.register_error_handler(Exception, _render_unexpected_error)
    return app


def _choose_auth(settings: Settings) -> BasicAuth | None:
    user, password = settings.basic_auth_user, settings.basic_auth_password
    return None if user is None or password is None else BasicAuth(user, password)


def _choose_limits(settings: Settings, credentials: BasicAuth | None) -> HttpLimits:
    frame = BodyLimit(settings.max_body_mib * MEBIBYTE, "M2N2_MAX_BODY_MIB")
    predict = BodyLimit(settings.max_predict_mib * MEBIBYTE, "M2N2_MAX_PREDICT_MIB")
    setup = BodyLimit(settings.max_setup_mib * MEBIBYTE, "M2N2_MAX_SETUP_MIB")
    image = BodyLimit(settings.max_image_mib * MEBIBYTE, "M2N2_MAX_IMAGE_MIB")
    of_the_page = {UPLOAD_PATH: min(image, frame), PREPARE_PATH: min(setup, frame), SEGMENT_PATH: min(predict, frame)}
    return HttpLimits(
        bodies={
            **(of_the_page if is_offered(settings) else {}),
            "/predict": min(predict, frame),
            "/setup": min(setup, frame),
            f"{PREFIX}/": frame,
            f"{PREFIX}/api/function_invocations": frame,
            f"{PREFIX}/propose": frame,
        },
        prefixes={} if settings.cvat_port is None else {settings.cvat_port: PREFIX},
        json_objects=settings.max_json_objects,
        held_bytes=max(settings.held_bodies_mib, settings.max_body_mib) * MEBIBYTE,
        head_seconds=settings.head_timeout_seconds,
        body_seconds=settings.body_timeout_seconds,
        send_seconds=settings.send_timeout_seconds,
        admits=credentials.admits if credentials is not None else lambda header: True,
    )


def _render_own_error(error: M2N2Error) -> Response:
    status = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
    _log_problem(error, str(error))
    response = _render_error(type(error).__name__, str(error), status)
    if status == 503:
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def _render_http_error(error: HTTPException) -> Response:
    message = error.description or error.name
    # Whoever tries paths must not fill the log.
    if request.url_rule is not None:
        _log_problem(error, message)
    response = _render_error(type(error).__name__, message, error.code or 500)
    # What a status obliges to, such as Allow and WWW-Authenticate.
    response.headers.extend((name, value) for name, value in error.get_headers() if name != "Content-Type")
    return response


def _render_unexpected_error(error: Exception) -> Response:
    logger.error("%s unexpected error", current_record().id, exc_info=error)
    return _render_error("InternalError", "an unexpected error: the server's log has it under this request_id", 500)


def _log_problem(error: Exception, message: str) -> None:
    logger.warning("%s %s: %s", current_record().id, type(error).__name__, message)


def _render_error(kind: str, message: str, status: int) -> Response:
    record = current_record()
    record.error_kind = kind
    response = jsonify(error={"type": kind, "message": shorten(message), "request_id": record.id})
    response.status_code = status
    return response
