"""The page's files: all that it names are there, none names another host, and nothing else is served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import backend.playground

from .conftest import PAGE

FOLDER = Path(backend.playground.__file__).parent
FILES = sorted((FOLDER / "page").iterdir())
SAMPLES = sorted((FOLDER / "samples").glob("*.jpg"))


@pytest.fixture
def client(make_client):
    return make_client(PAGE)


def test_everything_that_the_page_names_is_there(client):
    page = client.get("/", headers={"Accept": "text/html"}).text
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert {"playground/main.js", "playground/style.css", "playground/samples/coffee.jpg"} <= named
    for path in named:
        assert client.get(f"/{path}").status_code == 200, path
    for name in re.findall(r'data-sample="([^"]+)"', page):
        assert client.get(f"/playground/samples/{name}").status_code == 200


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_every_module_that_is_imported_is_there_and_every_name_in_it(client, path):
    for names, module in re.findall(r'import \{([^}]+)\} from "\./([\w.]+)"', path.read_text()):
        response = client.get(f"/playground/{module}")
        assert response.mimetype == "text/javascript"
        exported = set(re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", response.text, re.MULTILINE))
        assert {name.strip() for name in names.split(",") if name.strip()} <= exported


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_asked_of_another_host_or_run_from_the_page_s_text(path):
    text = path.read_text()
    assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=\"|innerHTML|outerHTML|\beval\b", text)


def test_every_element_that_the_scripts_look_for_is_there(client):
    page = client.get("/", headers={"Accept": "text/html"}).text
    ids = set(re.findall(r' id="([\w-]+)"', page))
    for path in FILES:
        for name in re.findall(r'(?:find|getElementById)\("([\w-]+)"\)', path.read_text()):
            assert name in ids, f"{path.name}: {name}"


def test_a_file_is_sent_again_only_where_it_changed(client):
    first = client.get("/playground/main.js")
    again = client.get("/playground/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["routes.py", "..%2froutes.py", "%2e%2e/routes.py", "page", "samples/", "samples/..%2f..%2froutes.py", ""]
)
def test_nothing_else_is_served(client, path):
    assert client.get(f"/playground/{path}").status_code == 404


def test_there_are_three_small_samples_with_source_and_licence(client):
    sources = (FOLDER / "samples" / "SOURCES.md").read_text()
    assert len(SAMPLES) == 3
    for path in SAMPLES:
        response = client.get(f"/playground/samples/{path.name}")
        assert response.mimetype == "image/jpeg"
        assert len(response.data) < 80_000
        assert re.search(rf"^\| `{path.name}` \|.*\| (CC0|public domain) \|$", sources, re.MULTILINE)
