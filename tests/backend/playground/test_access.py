"""Who gets the page, and whose requests it takes."""

from __future__ import annotations

import pytest

from .conftest import PAGE

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PASSWORD = {"M2N2_BASIC_AUTH_USER": "user", "M2N2_BASIC_AUTH_PASSWORD": "password"}
HEADERS = {"X-M2N2-Visitor": "0" * 32}


@pytest.mark.parametrize(
    ("environ", "is_there"),
    [
        ({"M2N2_PLAYGROUND": "on", "M2N2_HOST": "0.0.0.0"}, True),
        ({"M2N2_PLAYGROUND": "off", "M2N2_HOST": "127.0.0.1"}, False),
        ({"M2N2_HOST": "127.0.0.1"}, True),
        ({"M2N2_HOST": "127.8.9.1"}, True),
        ({"M2N2_HOST": "localhost"}, True),
        ({"M2N2_HOST": "[::1]"}, True),
        ({"M2N2_HOST": "::1"}, True),
        ({"M2N2_HOST": "0.0.0.0"}, False),
        ({"M2N2_HOST": "[::]"}, False),
        ({"M2N2_HOST": "192.168.1.5"}, False),
        ({"M2N2_HOST": "m2n2.example.com"}, False),
        ({"M2N2_HOST": "localhost.example.com"}, False),
        ({"M2N2_HOST": "0.0.0.0", **PASSWORD}, True),
        ({"M2N2_HOST": "0.0.0.0", "M2N2_PLAYGROUND": "off", **PASSWORD}, False),
    ],
)
def test_there_is_a_page_where_only_the_right_people_reach_it(make_client, environ, is_there):
    client = make_client(environ)
    headers = {"Accept": CHROMIUM}
    if "M2N2_BASIC_AUTH_USER" in environ:
        assert client.get("/", headers=headers).status_code == 401
        headers["Authorization"] = "Basic dXNlcjpwYXNzd29yZA=="
    response = client.get("/", headers=headers)
    assert response.status_code == 200
    assert response.mimetype == ("text/html" if is_there else "application/json")
    assert client.get("/playground/main.js", headers=headers).status_code == (200 if is_there else 404)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (CHROMIUM, "text/html"),
        ("text/html", "text/html"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        (None, "application/json"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("text/html;q=0, */*", "application/json"),
    ],
)
def test_clients_that_do_not_ask_for_a_page_get_the_status(make_client, accept, kind):
    response = make_client(PAGE).get("/", headers={} if accept is None else {"Accept": accept})
    assert (response.status_code, response.mimetype) == (200, kind)
    assert "Accept" in response.headers["Vary"]
    if kind == "application/json":
        assert response.json["status"] == "UP"


@pytest.mark.parametrize("path", ["/", "/playground/style.css", "/playground/samples/coffee.jpg", "/playground/none"])
def test_browsers_are_told_what_the_page_may_do(make_client, path):
    headers = make_client(PAGE).get(path, headers={"Accept": CHROMIUM}).headers
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name, _ in headers.items() if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxied.example.com"}, 200),
        ({"Origin": "http://other.example.com"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "https://LOCALHOST"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_cannot_use_it(make_client, make_png, given, status):
    response = make_client(PAGE).post(
        "/playground/images",
        data=make_png(),
        content_type="application/octet-stream",
        headers={**HEADERS, **given},
    )
    assert response.status_code == status
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("number", [None, "", "0" * 31, "0" * 33, "x" * 32, "A" * 32])
def test_a_request_names_its_visitor(make_client, make_png, number):
    headers = {} if number is None else {"X-M2N2-Visitor": number}
    response = make_client(PAGE).post(
        "/playground/images", data=make_png(), content_type="application/octet-stream", headers=headers
    )
    assert response.status_code == 400
    assert "X-M2N2-Visitor" in response.json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "kind", "wanted"),
    [
        ("images", "text/plain", "application/octet-stream"),
        ("images", "multipart/form-data", "application/octet-stream"),
        ("images", "", "application/octet-stream"),
        ("segment", "text/plain", "application/json"),
        ("segment", "application/x-www-form-urlencoded", "application/json"),
        ("prepare", "", "application/json"),
    ],
)
def test_bodies_that_forms_can_send_are_refused(make_client, path, kind, wanted):
    response = make_client(PAGE).post(f"/playground/{path}", data=b"{}", content_type=kind, headers=HEADERS)
    assert response.status_code == 415
    assert wanted in response.json["error"]["message"]


def test_browsers_that_ask_first_are_not_allowed(make_client):
    asked = {"Origin": "http://other.example.com", "Access-Control-Request-Method": "POST"}
    response = make_client(PAGE).options("/playground/images", headers=asked)
    assert not [name for name, _ in response.headers.items() if name.startswith("Access-Control")]


def test_a_password_is_asked_for_everywhere(make_client):
    client = make_client({**PAGE, **PASSWORD})
    for path in ("/", "/playground/main.js", "/playground/samples/coffee.jpg"):
        response = client.get(path, headers={"Accept": CHROMIUM})
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Basic realm=m2n2")
    assert client.post("/playground/images", data=b"", headers=HEADERS).status_code == 401


def test_there_is_no_page_at_the_port_for_cvat(make_client):
    client = make_client({**PAGE, "M2N2_CVAT_PORT": "8070"})
    at_cvat = {"SERVER_PORT": "8070"}
    response = client.get("/", headers={"Accept": CHROMIUM}, environ_overrides=at_cvat)
    assert response.mimetype == "application/json"
    assert client.get("/playground/main.js", environ_overrides=at_cvat).status_code == 404
