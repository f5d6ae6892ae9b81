"""How lines of the log are written: as text, or as one JSON object a line for log collectors."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

from flask import g, has_request_context

_TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, the request's id, and what a record carries as ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context() and "record" in g:
            line["request_id"] = g.record.id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def create_formatter(log_format: str) -> logging.Formatter:
    """The formatter of M2N2_LOG_FORMAT: ``text`` or ``json``."""
    return JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT_FORMAT)
