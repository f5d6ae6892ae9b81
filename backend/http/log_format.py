"""How lines of the log are written: for people at a terminal, as text, or as JSON for log collectors."""

from __future__ import annotations

import datetime
import json
import logging
import sys
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


class TerminalFormatter(TextFormatter):
    """The time of day and the message, with the level where that is worth a look."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record without its traceback."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{shorten(record.message)}"


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


_FORMATTERS: dict[str, type[logging.Formatter]] = {
    "json": JsonFormatter,
    "terminal": TerminalFormatter,
    "text": TextFormatter,
}


def choose_log_format(log_format: str) -> str:
    """What a value of M2N2_LOG_FORMAT means here: ``auto`` is for people where standard error is a terminal."""
    if log_format != "auto":
        return log_format
    return "terminal" if sys.stderr is not None and sys.stderr.isatty() else "text"


def create_formatter(log_format: str) -> logging.Formatter:
    """The formatter of a value that ``choose_log_format`` gave."""
    return _FORMATTERS[log_format]()


def shorten(text: str) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}... ({len(text)} characters)"


def _keep_end(text: str) -> str:
    return text if len(text) <= LONGEST_TRACEBACK else f"({len(text)} characters) ...{text[-LONGEST_TRACEBACK:]}"
