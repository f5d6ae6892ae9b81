"""Whatever is asked, answered or refused: no line of the log holds a secret, at any level and in either format."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from backend import wsgi
from backend.engines.background import BackgroundEngine
from backend.http.log_format import create_formatter

PERSONAL = "personalheader.personalpayload.personalsignature"
LEGACY = "fedcba9876543210fedcba9876543210fedcba98"
ACCESS = "accessheader.accesspayload.accesssignature"
PASSWORD = "basic-password"
WRONG_PASSWORD = "mistyped-password"
SIGNATURE = "X-Amz-Signature=signature"
QUERY = "token=in-a-query"
URL_PASSWORD = "password-in-an-address"
BODY_SECRET = "secret-in-a-body"


@pytest.fixture(autouse=True)
def levels():
    """Leaves the levels of our loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("backend", "m2n2_engine")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(params=[PERSONAL, LEGACY])
def key(request):
    return request.param


@pytest.fixture
def client(monkeypatch, segmenter, server, make_server, make_png, key):
    """The application as the entry point makes it, at DEBUG, with a Label Studio that redirects to a storage."""
    storage = make_server()
    server.answer("/api/token/refresh/", json.dumps({"access": ACCESS}).encode())
    server.answer("/data/a.png", make_png())
    server.answer("/data/signed.png", status=302, Location=f"{storage.url}/b.png?{SIGNATURE}")
    server.answer("/data/refused.png", status=302, Location=f"http://10.1.2.3/b.png?{SIGNATURE}")
    server.answer("/data/forbidden.png", status=403)
    storage.answer(f"/b.png?{SIGNATURE}", make_png())
    environ = {
        "M2N2_LOG_LEVEL": "DEBUG",
        "LABEL_STUDIO_URL": server.url,
        "LABEL_STUDIO_API_KEY": key,
        "M2N2_PRIVATE_IMAGE_HOSTS": storage.url.removeprefix("http://"),
        "M2N2_BASIC_AUTH_USER": "user",
        "M2N2_BASIC_AUTH_PASSWORD": PASSWORD,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return wsgi.create(BackgroundEngine(lambda: segmenter)).test_client()


def test_no_line_of_the_log_holds_a_secret(client, recorded, make_png, server, segmenter, key, caplog):
    setup, click = recorded("setup_request"), recorded("predict_interactive_1_points")
    right, wrong = ("user", PASSWORD), ("user", WRONG_PASSWORD)
    payload = base64.b64encode(make_png()).decode()
    images = [
        ("/data/a.png", 200),
        ("/data/signed.png", 200),
        ("/data/refused.png", 403),
        ("/data/forbidden.png", 424),
        ("/data/missing.png?" + QUERY, 424),
        (f"http://images.example.com/a.png?{SIGNATURE}", 403),
        (f"http://user:{URL_PASSWORD}@images.example.com/a.png", 403),
        (f"http://user:{URL_PASSWORD}@10.1.2.3/a.png?{SIGNATURE}", 403),
        (f"s3://user:{URL_PASSWORD}@bucket/a.png", 424),
        (f"data:image/png;base64,{payload}", 200),
        (f"data:image/png;base64,{payload[: len(payload) // 2]}", 400),
        (f"data:text/plain,{BODY_SECRET}", 400),
        (f"  \ndata:image/png;base64,{payload}", 200),
        (f"'data:image/png;base64,{payload}'", 403),
        (f"http://[data:image/png;base64,{payload}", 400),
    ]
    for image, status in images:
        click["tasks"][0]["data"]["image"] = image
        assert client.post("/predict", json=click, auth=right).status_code == status, image
    segmenter.error = RuntimeError("a mistake of ours")
    click["tasks"][0]["data"]["image"] = f"data:image/png;base64,{payload}"
    assert client.post("/predict", json=click, auth=right).status_code == 500
    assert client.post("/predict", json=click, auth=wrong).status_code == 401
    assert client.post("/setup", json=setup, auth=right).status_code == 200
    assert client.post("/setup", json={"schema": [BODY_SECRET]}, auth=right).status_code == 400
    assert client.post("/setup", data=BODY_SECRET, auth=right).status_code == 400
    assert client.post("/webhook", json={"action": BODY_SECRET}).status_code == 204
    assert client.get(f"/health?{QUERY}", auth=right).status_code == 200
    assert client.get("/none", headers={"Authorization": f"Bearer {ACCESS}", "X-Request-ID": f"a {ACCESS}"}).status

    if key == PERSONAL:
        assert json.loads(server.seen[0][3]) == {"refresh": PERSONAL}
    assert server.seen[-1][2] == (f"Bearer {ACCESS}" if key == PERSONAL else f"Token {LEGACY}")
    assert logging.getLogger("backend.app").getEffectiveLevel() == logging.DEBUG
    lines = [create_formatter(name).format(record) for record in caplog.records for name in ("text", "json")]
    log = "\n".join(lines)
    assert "a mistake of ours" in log
    assert "images.example.com" in log
    encoded = [base64.b64encode(f"user:{password}".encode()).decode() for password in (PASSWORD, WRONG_PASSWORD)]
    plain = [PERSONAL, LEGACY, ACCESS, PASSWORD, WRONG_PASSWORD, SIGNATURE, QUERY, URL_PASSWORD, BODY_SECRET]
    for secret in [*plain, *encoded, setup["access_token"], payload[:40]]:
        assert secret not in log
