from __future__ import annotations

import logging
import re

import pytest


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
