"""gunicorn's configuration, by the settings of the environment: ``gunicorn -c python:backend.http.gunicorn_conf``."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from backend.http.log_format import choose_log_format
from backend.http.ports import render_bind
from backend.settings import load_settings
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import State

try:
    _settings = load_settings()
except ConfigurationError as error:
    sys.exit(str(error))

wsgi_app = "backend.wsgi:create()"
_log_format = choose_log_format(_settings.log_format)
_is_for_people = _log_format == "terminal"

bind = [render_bind(_settings.host, port) for port in (_settings.port, _settings.cvat_port) if port is not None]

# One process holds the model and the images; threads share them. Nothing is loaded before the worker is forked: no
# thread of a compiled kernel and no CUDA context survives a fork.
workers = 1
worker_class = "backend.http.worker.DrainingWorker"
threads = _settings.server_threads
worker_connections = _settings.max_connections
# The worker sends answers itself, from its loop.
sendfile = False
preload_app = False

# Label Studio waits 100 s for an answer. The heartbeat comes from the worker's main thread, not from a request, so the
# timeout only ends a process that hangs as a whole.
timeout = 120
graceful_timeout = 100

# The application logs each request itself, with its id.
accesslog = None
errorlog = "-"
_gunicorn_level = "WARNING" if _is_for_people and _settings.log_level == "INFO" else _settings.log_level
loglevel = _gunicorn_level.lower()
# gunicorn's own lines in the format of all others.
logconfig_dict: dict[str, Any] = {
    "formatters": {"generic": {"()": "backend.http.log_format.create_formatter", "log_format": _log_format}},
    "root": {"level": "WARNING", "handlers": ["error_console"]},
    "loggers": {
        # People are told by the application what these lines say, in its own words.
        "gunicorn.error": {"level": _gunicorn_level, "handlers": ["error_console"], "propagate": False},
        # This configuration would turn the access log on, and with it queries and their tokens.
        "gunicorn.access": {"level": "CRITICAL"},
    },
}

# Nothing manages the process through gunicorn's socket, and the home folder may be read-only.
control_socket_disable = True


def on_exit(_server: Any) -> None:
    """Tell people at a terminal that it was Ctrl+C which ended the server."""
    if _is_for_people:
        print("M2N2 has stopped", file=sys.stderr)  # noqa: T201 (the log is closed by then)


def worker_exit(_server: Any, worker: Any) -> None:
    """Let the image in preparation be finished before the process ends."""
    app = getattr(worker, "wsgi", None)  # none where it could not be made, and in gunicorn's own process
    if app is None:
        return
    app.extensions["preparation"].close()
    if app.extensions["engine"].status().state is State.LOADING:
        # Python's own end would pull the ground from under the libraries that are being loaded, which then abort.
        logging.shutdown()
        os._exit(0)
