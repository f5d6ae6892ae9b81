"""The front door, ``gunicorn backend.wsgi:create()``: environment -> settings -> engine -> application."""

from __future__ import annotations

import logging

from flask import Flask

from backend.app import create_app
from backend.settings import calm_idle_threads, load_settings
from backend.startup import BackgroundSegmenter
from m2n2_engine.config import EngineConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Segmenter

# gunicorn starts a worker again and again unless it ends with this status.
_FINAL_STATUS = 4

logger = logging.getLogger(__name__)


def create() -> Flask:
    """The application, its model loading in the background. A wrong setting ends the process with one line."""
    calm_idle_threads()
    try:
        settings = load_settings()
    except ConfigurationError as error:
        logger.critical("%s", error)
        raise SystemExit(_FINAL_STATUS) from None
    _configure_logging(settings.log_level)
    config = settings.engine_config()
    return create_app(settings, BackgroundSegmenter(lambda: _load_warm(config)))


def _configure_logging(level: str) -> None:
    """Our own loggers at the level; of libraries only warnings, for some of them log addresses with their secrets."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("backend", "m2n2_engine"):
        logging.getLogger(name).setLevel(level)


def _load_warm(config: EngineConfig) -> Segmenter:
    # Imported here, in the loading thread: torch takes seconds, and the server answers meanwhile.
    from m2n2_engine.engine import load_engine

    engine = load_engine(config)
    engine.warm_up()
    return engine
