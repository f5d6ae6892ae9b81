"""The log of a real server at DEBUG in JSON, gunicorn's own lines and its access log among it."""

from __future__ import annotations

import json

import requests

SECRETS = ("in-a-query", "in-a-header", "dXNlcjpiYXNpYw==", "in-a-body")


def test_nothing_of_a_request_but_its_path_is_logged(tiny_server):
    with requests.Session() as session:
        session.get(f"{tiny_server.url}/health?token=in-a-query", headers={"X-Token": "in-a-header"})
        session.get(f"{tiny_server.url}/none", auth=("user", "basic"))
        session.post(f"{tiny_server.url}/setup", json={"schema": None, "access_token": "in-a-body"})
        session.post(f"{tiny_server.url}/predict", data="in-a-body")
        # On the same connection: what gunicorn logs of an answer is written once the next request is served.
        session.get(f"{tiny_server.url}/versions")
    log = tiny_server.read_log()
    paths = [json.loads(line).get("path") for line in log.splitlines()]
    assert {"/health", "/none", "/setup", "/predict"} <= set(paths)
    for secret in SECRETS:
        assert secret not in log
