"""The log of a real server at DEBUG in JSON, gunicorn's own lines and its access log among it."""

from __future__ import annotations

import json

import requests

from backend.tools.load import draw_body

LONGEST_LINE = 10_000
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


def test_what_clients_name_makes_no_long_line(tiny_server):
    label = "x" * 500_000
    body = draw_body(0, clicks=1, size=(60, 80), image="/data/upload/1/a.png")
    body["params"]["context"]["result"][-1]["value"]["keypointlabels"] = [label]
    with requests.Session() as session:
        assert session.post(f"{tiny_server.url}/predict", json=body).status_code == 200
        config = f"<View><KeyPointLabels name='{label}' toName='image'/></View>"
        assert session.post(f"{tiny_server.url}/setup", json={"schema": config}).status_code == 200
        for reference in (f"http://{'x' * 500}.example.com/{label}", f"/data/local-files/?d={label}", f"s3://{label}"):
            body = draw_body(0, clicks=1, size=(60, 80), image=reference)
            assert session.post(f"{tiny_server.url}/predict", json=body).status_code < 500
        session.get(f"{tiny_server.url}/{label[:4000]}")
    lines = tiny_server.read_log().splitlines()
    assert any("xxx" in line for line in lines)
    assert max(map(len, lines)) < LONGEST_LINE
