"""How lines of the log are written: as text, or as one JSON object a line for log collectors."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

from flask import g, has_request_context

LONGEST_MESSAGE = 2000
"""In characters. Clients write parts of it: labels, paths, references, what they sent instead of a number."""

LONGEST_TRACEBACK = 20_000
"""In characters; its end says what happened."""

_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """Time, level, logger and message."""

    def __init__(self) -> None:
        super().__init__(_TEXT_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record without its traceback."""
        record.message = shorten(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """The traceback."""
        return _keep_end(super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, the request's id, and what a record carries as ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": shorten(record.getMessage()),
        }
        if has_request_context() and "record" in g:
            line["request_id"] = g.record.id
        fields = getattr(record, "fields", {})
        line.update({name: shorten(value) if isinstance(value, str) else value for name, value in fields.items()})
        if record.exc_info:
            line["exception"] = _keep_end(self.formatException(record.exc_info))
        return json.dumps(line)


def create_formatter(log_format: str) -> logging.Formatter:
    """The formatter of M2N2_LOG_FORMAT: ``text`` or ``json``."""
    return JsonFormatter() if log_format == "json" else TextFormatter()


def shorten(text: str) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}... ({len(text)} characters)"


def _keep_end(text: str) -> str:
    return text if len(text) <= LONGEST_TRACEBACK else f"({len(text)} characters) ...{text[-LONGEST_TRACEBACK:]}"
