"""A visitor of the page at /, in a real browser."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Download, Locator, Page, Response, expect

ANSWER_MILLISECONDS = 120_000
expect.set_options(timeout=30_000)  # Playwright's own 5 s are short on a busy machine.
_DROP = """([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.getElementById("stage").dispatchEvent(
      new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
  }
}"""
_OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Visitor:
    """context: of the browser. url: of the server. folder: where pictures of the page are put.

    hosts: that were asked for anything. complaints: what the browser's console says is wrong.
    """

    def __init__(self, context: BrowserContext, url: str, folder: Path) -> None:
        self.page: Page = context.new_page()
        self.url = url
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self._folder = folder
        self._size = (0, 0)
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)
        expect(self.page.locator("#engine")).to_have_attribute("data-kind", "ready", timeout=ANSWER_MILLISECONDS)

    def _note(self, url: str) -> None:
        if not url.startswith(("blob:", "data:")):
            self.hosts.add(url.partition("//")[2].partition("/")[0])

    @property
    def status(self) -> Locator:
        """What the page says over the image."""
        return self.page.locator("#status")

    @property
    def notice(self) -> Locator:
        """What the page says went wrong."""
        return self.page.locator("#notice-text")

    @property
    def overflow_pixels(self) -> int:
        """How much wider the page is than its window."""
        overflow: int = self.page.evaluate(_OVERFLOW)
        return overflow

    def drop(self, name: str, data: bytes, kind: str = "image/png") -> None:
        """Drop a file on the page."""
        self.page.evaluate(_DROP, [name, kind, base64.b64encode(data).decode()])

    def open(self, name: str, data: bytes, size: tuple[int, int]) -> None:
        """Drop an image of this (W, H), and wait until it is ready."""
        self.drop(name, data)
        self.await_image(size)

    def await_image(self, size: tuple[int, int]) -> None:
        """Wait until an image of this (W, H) is ready."""
        expect(self.status).to_contain_text("Ready", timeout=ANSWER_MILLISECONDS)
        self._size = size

    def find(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the image, in shares of its size, lies in the window; the image is shown whole."""
        canvas = self.page.locator("#canvas").bounding_box()
        assert canvas is not None
        scale = float(self.page.locator("#zoom-text").inner_text().removesuffix(" %")) / 100
        tools = self.page.locator("#tools").bounding_box()
        bottom = canvas["y"] + canvas["height"]
        if tools is not None and tools["y"] + tools["height"] <= bottom:
            bottom = tools["y"]
        width, height = self._size
        return (
            canvas["x"] + canvas["width"] / 2 + (x - 0.5) * width * scale,
            (canvas["y"] + bottom) / 2 + (y - 0.5) * height * scale,
        )

    @contextlib.contextmanager
    def expect_mask(self) -> Iterator[dict[str, Any]]:
        """Do in the block what asks for a mask; what was asked is then in the dictionary."""
        asked: dict[str, Any] = {}
        with self.page.expect_response("**/playground/segment", timeout=ANSWER_MILLISECONDS) as answer:
            yield asked
        response: Response = answer.value
        assert response.status == 200, response.text()
        asked |= json.loads(response.request.post_data or "{}")
        expect(self.page.locator("#progress")).to_be_hidden(timeout=ANSWER_MILLISECONDS)

    def click(self, x: float, y: float, **options: Any) -> dict[str, Any]:
        """Click on a point of the image, in shares of its size; what was asked. options: of Playwright's click."""
        modifiers = options.pop("modifiers", [])
        with self.expect_mask() as asked:
            self.hold(modifiers)
            self.page.mouse.click(*self.find(x, y), **options)
            self.release(modifiers)
        return asked

    def drag(self, *points: tuple[float, float], modifiers: tuple[str, ...] = ()) -> dict[str, Any]:
        """Drag through points of the image, in shares of its size; what was asked."""
        with self.expect_mask() as asked:
            self.hold(modifiers)
            self.page.mouse.move(*self.find(*points[0]))
            self.page.mouse.down()
            for point in points[1:]:
                self.page.mouse.move(*self.find(*point), steps=5)
            self.page.mouse.up()
            self.release(modifiers)
        return asked

    def hold(self, modifiers: tuple[str, ...] | list[str]) -> None:
        """Press keys and keep them."""
        for key in modifiers:
            self.page.keyboard.down(key)

    def release(self, modifiers: tuple[str, ...] | list[str]) -> None:
        """Let go of keys."""
        for key in modifiers:
            self.page.keyboard.up(key)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def list_objects(self) -> list[tuple[str, str]]:
        """Name and share of every object in the list."""
        rows = self.page.locator("#objects li")
        return [
            (row.locator(".name").input_value(), row.locator(".area").inner_text())
            for row in (rows.nth(number) for number in range(rows.count()))
        ]

    def download(self, kind: str) -> tuple[str, bytes]:
        """Name and content of one of the page's files."""
        with self.page.expect_download() as started:
            self.page.locator(f"[data-download={kind}]").click()
        return read_download(started.value)

    def shoot(self, name: str) -> None:
        """Keep a picture of the page."""
        self.page.screenshot(path=self._folder / f"{name}.png")


def read_download(download: Download) -> tuple[str, bytes]:
    """Name and content of a file that the browser was handed."""
    return download.suggested_filename, Path(download.path()).read_bytes()
