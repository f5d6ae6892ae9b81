from __future__ import annotations

import base64
import io
import json
import logging
import re
import sys

import pytest

from backend.http.log_format import LONGEST_MESSAGE, LONGEST_TRACEBACK, choose_log_format, create_formatter


@pytest.fixture
def json_log():
    """What the backend logs, one parsed line after another."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(create_formatter("json"))
    logger = logging.getLogger("backend")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def click(recorded, make_png):
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    return body


def test_a_request_is_one_object_with_its_timings(client, click, json_log):
    client.post("/predict?token=secret", json=click, headers={"X-Request-ID": "one", "Authorization": "Basic abc123"})
    (line,) = json_log()
    assert line.pop("time").endswith("+00:00")
    assert line.pop("message").startswith("POST '/predict' 200 ")
    assert line.pop("duration_ms") >= 0
    stages = line.pop("stages_ms")
    assert list(stages) == ["fetch", "wait", "attention", "clicks", "encode"]
    assert stages["clicks"] == 125.0
    assert min(stages.values()) >= 0
    assert line == {
        "level": "INFO",
        "logger": "backend.http.request",
        "request_id": "one",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "client": "127.0.0.1",
    }


def test_an_unexpected_error_is_one_line_with_its_traceback_and_request(client, click, segmenter, json_log):
    segmenter.error = RuntimeError("what\nhappened")
    client.post("/predict", json=click, headers={"X-Request-ID": "two"})
    error, request = json_log()
    assert error["level"] == "ERROR"
    assert error["exception"].startswith("Traceback")
    assert error["request_id"] == request["request_id"] == "two"


def test_outside_of_a_request_there_is_no_id(json_log):
    logging.getLogger("backend.test").warning("free %s", "disk")
    (line,) = json_log()
    assert (line["message"], line["level"]) == ("free disk", "WARNING")
    assert "request_id" not in line


def test_text_is_the_other_format():
    record = logging.makeLogRecord({"name": "backend.app", "levelname": "INFO", "msg": "hello"})
    assert create_formatter("text").format(record).endswith("INFO backend.app: hello")


def test_people_at_a_terminal_get_the_time_and_the_message_and_the_level_of_problems():
    said = logging.makeLogRecord({"name": "backend.app", "levelname": "INFO", "levelno": 20, "msg": "hello"})
    warned = logging.makeLogRecord({"name": "backend.app", "levelname": "WARNING", "levelno": 30, "msg": "no disk"})
    assert re.fullmatch(r"\d\d:\d\d:\d\d hello", create_formatter("terminal").format(said))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning: no disk", create_formatter("terminal").format(warned))


@pytest.mark.parametrize(
    ("log_format", "is_terminal", "chosen"),
    [
        ("auto", True, "terminal"),
        ("auto", False, "text"),
        ("json", True, "json"),
        ("text", True, "text"),
        ("terminal", False, "terminal"),
    ],
)
def test_the_format_is_by_the_terminal_unless_it_is_set(monkeypatch, log_format, is_terminal, chosen):
    error_stream = io.StringIO()
    monkeypatch.setattr(error_stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", error_stream)
    assert choose_log_format(log_format) == chosen


@pytest.mark.parametrize("log_format", ["terminal", "text", "json"])
def test_what_clients_send_makes_no_long_line(log_format):
    record = logging.makeLogRecord(
        {"name": "backend.app", "levelno": logging.INFO, "msg": "a label %r", "args": ("x" * 5_000_000,)}
    )
    record.fields = {"path": "/" + "y" * 100_000}
    line = create_formatter(log_format).format(record)
    assert len(line) < 3 * LONGEST_MESSAGE
    assert "(5000010 characters)" in line


@pytest.mark.parametrize("log_format", ["terminal", "text", "json"])
def test_a_long_traceback_keeps_its_end(log_format):
    record = logging.makeLogRecord({"name": "backend.app", "levelno": logging.ERROR, "msg": "failed"})
    try:
        raise ValueError("z" * 1_000_000 + "the end")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    line = create_formatter(log_format).format(record)
    assert len(line) < 2 * LONGEST_TRACEBACK
    assert "the end" in line
