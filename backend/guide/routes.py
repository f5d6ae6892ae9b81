"""The annotators' guide as a web page, so that Label Studio can link to it."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory
from markdown_it import MarkdownIt

_FOLDER = Path(__file__).parent
# Pictures are named relative to the page's folder, so that they are found below the path prefix of a proxy too.
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<base href="guide/">
<title>Annotating with M2N2 in Label Studio</title>
<style>
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif }
img { max-width: 100% }
td, th { padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ccc }
</style>
"""


def create_blueprint() -> Blueprint:
    """GET /guide and its pictures. The page is rendered once, here."""
    blueprint = Blueprint("guide", __name__)
    page = _HEAD + MarkdownIt().enable("table").render((_FOLDER / "GUIDE.md").read_text(encoding="utf-8"))

    @blueprint.get("/guide")
    def show() -> Response:
        return Response(page, mimetype="text/html")

    @blueprint.get("/guide/<name>.jpg")
    def show_picture(name: str) -> Response:
        return send_from_directory(_FOLDER, f"{name}.jpg")

    return blueprint
