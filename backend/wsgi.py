"""The entry point, ``gunicorn backend.wsgi:create()``: environment -> settings -> engine -> application."""

from __future__ import annotations

import functools
import logging
import os

from flask import Flask

from backend.app import create_app
from backend.engines.background import BackgroundEngine, EngineSource, log_ready
from backend.engines.load import choose_load
from backend.http.greeting import greet
from backend.http.log_format import choose_log_format, create_formatter
from backend.http.ports import render_url
from backend.playground.access import is_offered
from backend.process import calm_idle_threads
from backend.settings import Settings, load_settings
from m2n2_engine import __version__
from m2n2_engine.errors import ConfigurationError

# gunicorn starts a worker again and again unless it ends with this status.
_FINAL_STATUS = 4

logger = logging.getLogger(__name__)


def create(source: EngineSource | None = None) -> Flask:
    """The application of the environment's settings. A wrong setting ends the process with one line.

    Args:
        source: Has the engine. None: that of the settings, which loads in the background.
    """
    calm_idle_threads()
    try:
        settings = load_settings()
    except ConfigurationError as error:
        logger.critical("%s", error)
        raise SystemExit(_FINAL_STATUS) from None
    log_format = choose_log_format(settings.log_format)
    _configure_logging(settings, log_format)
    return create_app(settings, source or _load_engine(settings, log_format))


def _load_engine(settings: Settings, log_format: str) -> BackgroundEngine:
    """The engine of the settings, as it is being loaded. People at a terminal are greeted once it is there."""
    announce = log_ready
    if log_format == "terminal":
        logger.info("M2N2 %s starts at %s", __version__, render_url(settings.host, settings.port))
        announce = functools.partial(greet, settings, is_offered(settings))
    return BackgroundEngine(choose_load(settings), end=_end_process, announce=announce)


def _end_process() -> None:
    """From the thread that loads: settings that only the engine can check are as final as the others."""
    logging.shutdown()
    os._exit(_FINAL_STATUS)


def _configure_logging(settings: Settings, log_format: str) -> None:
    """Our own loggers at the level; of libraries only warnings, for some of them log addresses with their secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(create_formatter(log_format))
    logging.basicConfig(handlers=[handler])
    for name in ("backend", "m2n2_engine"):
        logging.getLogger(name).setLevel(settings.log_level)
