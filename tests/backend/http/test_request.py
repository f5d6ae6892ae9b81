from __future__ import annotations

import logging
import re

import pytest

from m2n2_engine.types import EngineStatus, State


def test_a_sane_request_id_is_kept(client):
    assert client.get("/health", headers={"X-Request-ID": "a-B_1.c"}).headers["X-Request-ID"] == "a-B_1.c"


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 65, "<script>", "a\tb", "ä"])
def test_any_other_is_replaced(client, given):
    headers = {} if given is None else {"X-Request-ID": given}
    assert re.fullmatch("[0-9a-f]{32}", client.get("/health", headers=headers).headers["X-Request-ID"])


def test_each_request_has_one_line_without_its_query(client, caplog):
    with caplog.at_level(logging.INFO, logger="backend.http.request"):
        client.get("/none%0Afake?token=secret", headers={"X-Request-ID": "one"})
    (record,) = caplog.records
    assert re.fullmatch(r"GET '/none\\nfake' 404 \d+ ms 127\.0\.0\.1 one", record.getMessage())


def test_probes_that_are_answered_are_logged_for_debugging_alone(make_client, segmenter, caplog):
    client = make_client()
    with caplog.at_level(logging.DEBUG, logger="backend.http.request"):
        for path in ("/health", "/ready", "/metrics", "/versions"):
            client.get(path)
        segmenter.told = EngineStatus("m2n2-1", State.FAILED, "the device cuda:0 does not answer any more")
        client.get("/ready")
    lines = [(record.fields["path"], record.fields["status"], record.levelname) for record in caplog.records]
    assert lines == [
        ("/health", 200, "DEBUG"),
        ("/ready", 200, "DEBUG"),
        ("/metrics", 200, "DEBUG"),
        ("/versions", 200, "INFO"),
        ("/ready", 503, "INFO"),
    ]
