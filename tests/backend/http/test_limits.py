from __future__ import annotations

import json

import pytest

from backend.errors import InvalidRequest
from backend.http.limits import MOST_COMMAS, MOST_DEPTH, MOST_QUOTES, check_json

NESTED = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        NESTED,
        b"[" + b"{}," * 9 + b"0]",
        json.dumps("[{" * 1000).encode(),
        json.dumps('"[' * 1000).encode(),
        json.dumps("\\" * 1001 + "[").encode(),
        json.dumps(["\\", "[" * 100, '\\"', "]" * 100]).encode(),
        b"[" + b"1," * 1000 + b"1]",
        b"}" * 20,
    ],
)
def test_what_is_small_passes(body):
    check_json(body, 10 if len(body) < 100 else 100)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" + NESTED + b"]", f"more than {MOST_DEPTH} deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, f"more than {MOST_DEPTH} deep"),
        (b"[" * 70, f"more than {MOST_DEPTH} deep"),
        (b"[" + b"[]," * 100 + b"0]", "more than 100 objects and lists.*M2N2_MAX_JSON_OBJECTS"),
        (b"[" + b"{}" * 100 + b"]", "more than 100 objects"),
        (b'"\\\\"' + b"[]" * 101, "more than 100 objects"),
        (b"," * (MOST_COMMAS + 1), "too many values"),
        (b'"' * (MOST_QUOTES + 1), "too many values"),
    ],
)
def test_what_would_hold_others_up_is_refused(body, message):
    with pytest.raises(InvalidRequest, match=message):
        check_json(body, 100)
