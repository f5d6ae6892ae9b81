from __future__ import annotations

import pytest

from backend.engines.readiness import Readiness, read_readiness


@pytest.mark.parametrize(
    ("facts", "readiness", "is_ready"),
    [
        ({}, Readiness("ready", None), True),
        ({"state": "ready", "reason": None, "device_usable": True}, Readiness("ready", None), True),
        ({"state": "loading", "reason": None}, Readiness("loading", None), False),
        ({"state": "failed", "reason": "no weights"}, Readiness("failed", "no weights"), False),
        (
            {"state": "ready", "device": "cuda:0", "device_usable": False},
            Readiness("failed", "the device cuda:0 does not answer any more: restart this server"),
            False,
        ),
    ],
)
def test_readiness_follows_from_the_facts(facts, readiness, is_ready):
    assert read_readiness(facts) == readiness
    assert read_readiness(facts).is_ready is is_ready
