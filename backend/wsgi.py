"""The front door, ``gunicorn backend.wsgi:create()``: environment -> settings -> engine -> application."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Flask

from backend.app import create_app
from backend.log_format import create_formatter
from backend.settings import Settings, calm_idle_threads, load_settings
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
    _configure_logging(settings)
    return create_app(settings, BackgroundSegmenter(choose_load(settings)))


def _configure_logging(settings: Settings) -> None:
    """Our own loggers at the level; of libraries only warnings, for some of them log addresses with their secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(create_formatter(settings.log_format))
    logging.basicConfig(handlers=[handler])
    for name in ("backend", "m2n2_engine"):
        logging.getLogger(name).setLevel(settings.log_level)


def choose_load(settings: Settings) -> Callable[[], Segmenter]:
    """What loads the segmenter of M2N2_ENGINE."""
    if settings.engine == "ray":
        return lambda: _join_cluster(settings.ray_address, settings.ray_app)
    config = settings.engine_config()
    return lambda: load_warm(config)


def load_warm(config: EngineConfig) -> Segmenter:
    """An engine that has compiled its kernels and run its network once. Raises what `load_engine` raises."""
    # Imported here, in the loading thread: torch takes seconds, and the server answers meanwhile.
    from m2n2_engine.engine import load_engine

    engine = load_engine(config)
    engine.warm_up()
    return engine


def _join_cluster(address: str, app: str) -> Segmenter:
    # Imported here: nothing of Ray is needed, nor paid for at the start, where the engine is local.
    try:
        from backend.ray_cluster import connect
    except ImportError as error:
        raise ConfigurationError(
            f"M2N2_ENGINE=ray needs Ray, which cannot be imported ({error}): pip install 'm2n2-annotation[ray]'"
        ) from None
    from backend.ray_segmenter import RaySegmenter

    return RaySegmenter(connect(address, app))
