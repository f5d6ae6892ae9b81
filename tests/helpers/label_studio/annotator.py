"""An annotator at Label Studio's page (1.23.2): headless Chromium, driven by what the page shows."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, Response, expect

# The machine may be shared and slow; each wait ends as soon as its condition holds.
PATIENCE_MS = 90_000
_POLL_MS = 200
_DRAG_STEPS = 5

_CLICK_PATH = "/interactive-annotating"
_AUTO_ANNOTATION = "[data-testid=bottombar-auto-annotation-toggle]"
_AUTO_ACCEPT = "[data-testid=bottombar-auto-accept-toggle]"
_ACCEPT = "[data-testid=bottombar-accept-suggestions-button]"
# The tool bar's own button; where several tools are smart, those in its fly-out have names.
_AUTO_DETECT = "button.lsf-tool_smart:not([aria-label])"
_SMART_TOOLS = ".lsf-toolbar__smart"
_ACTIVE_TOOL = re.compile("lsf-tool_active")
_LABEL = ".lsf-label"
_SELECTED_LABEL = "lsf-label_selected"
_SETTINGS = "[data-testid=bottombar-settings-button]"
_SETTING = ".lsf-settings__field"
_CANVAS = ".konvajs-content canvas"
_SHOWN_SIZE = (
    "() => { const image = Htx.annotationStore.selected.objects[0]; return [image.stageWidth, image.stageHeight]; }"
)
_IS_LOADED = "() => Htx.annotationStore.selected.objects[0].imageIsLoaded"
_SHOWS = "id => [...Htx.annotationStore.selected.suggestions.values()].some(region => region.cleanId === id)"
_SHOWN_SOURCES = """() => {
    const images = Htx.annotationStore.selected.objects;
    return Object.fromEntries(images.map(image => [image.name.split("@")[0], image.currentSrc]));
}"""
_SNAPSHOT = "() => [...Htx.annotationStore.selected.areas.values()].map(region => region.getImageDataURL())"
_REGIONS = "() => [...Htx.annotationStore.selected.areas.values()].map(region => [region.cleanId, region.origin])"
_HAS = "id => [...Htx.annotationStore.selected.areas.values()].some(region => region.cleanId === id)"
_MARK = """([number, left, top]) => {
    const mark = document.createElement("div");
    mark.className = "guide-mark";
    mark.textContent = number;
    mark.style = `position: fixed; left: ${left}px; top: ${top}px; z-index: 9999; width: 26px; height: 26px;
        border-radius: 13px; background: #c0003c; color: white; text-align: center; font: bold 15px/26px sans-serif`;
    document.body.append(mark);
}"""
_UNMARK = "() => document.querySelectorAll('.guide-mark').forEach(mark => mark.remove())"
_MARK_GAP, _MARK_SIZE = 6, 26
_COUNT = "() => Htx.annotationStore.selected.areas.size"
_NONE_SELECTED = "() => Htx.annotationStore.selected.selectedRegions.length === 0"
_NEXT_PAGE = ".lsf-pagination__btn_arrow-right:not(.lsf-pagination__btn_arrow-right-double)"
_SUBMIT = '[data-testid="bottombar-submit-button"]'


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """A click's request to Label Studio and its answer. asked: the key points, or the rectangles, of the request."""

    asked: list[dict[str, Any]]
    answer: dict[str, Any]

    @property
    def regions(self) -> list[dict[str, Any]]:
        """Those of the answer; none where there is an error instead."""
        return list(self.answer.get("data", {}).get("result", []))

    @property
    def region(self) -> dict[str, Any]:
        """The one region of the answer."""
        (region,) = self.regions
        return region


class Annotator:
    """Logged in, with one page. Positions are fractions of the shown image, from its top left corner."""

    def __init__(self, context: BrowserContext, url: str, shots: Path) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.set_default_navigation_timeout(PATIENCE_MS)
        self._url = url
        self._shots = shots
        self._task = 0

    def open_task(self, project: int, task: int) -> None:
        self._task = task
        self.page.goto(f"{self._url}/projects/{project}/data?task={task}")
        self._wait_for_image()

    def reload(self) -> None:
        self.page.reload()
        self._wait_for_image()

    def prepare(self, *, auto_accept: bool = False) -> None:
        """Auto-Annotation on, Auto-Accept as asked, the configuration's one smart tool in hand."""
        self._toggle(_AUTO_ANNOTATION, "Auto-Annotation", wanted=True)
        self._toggle(_AUTO_ACCEPT, "Auto-Accept Suggestions", wanted=auto_accept)
        self.take_smart_tool()

    def take_smart_tool(self, name: str | None = None) -> None:
        """The one that the configuration has, or of several that of this name."""
        tool = self.page.locator(_AUTO_DETECT)
        if name is None:
            tool.click()
        else:
            # The names show while the pointer is on the button.
            tool.hover()
            self.page.locator(_SMART_TOOLS).get_by_label(name, exact=True).click()
        expect(tool).to_have_class(_ACTIVE_TOOL, timeout=PATIENCE_MS)

    def select_label(self, label: str, row: int = 0) -> None:
        """A label is unselected after every click. row: of the controls that have it, in the order of the
        configuration; those of the smart tool come first."""
        # A region that was just made is selected, and would be given the label instead.
        self.page.keyboard.press("Escape")
        self.page.wait_for_function(_NONE_SELECTED)
        chip = self.page.locator(_LABEL, has_text=label).nth(row)
        if _SELECTED_LABEL not in (chip.get_attribute("class") or ""):
            chip.click()
        self.page.wait_for_selector(f"{_LABEL}.{_SELECTED_LABEL}")

    def keep_label_selected(self, picture: str) -> None:
        """Turn that on in the page's settings, which are kept as a picture."""
        self.page.locator(_SETTINGS).click()
        choice = self.page.locator(_SETTING, has_text="Keep label selected after creating a region")
        choice.click()
        expect(choice.locator("input")).to_be_checked(timeout=PATIENCE_MS)
        self.shoot(picture)
        self.page.keyboard.press("Escape")
        expect(choice).to_be_hidden(timeout=PATIENCE_MS)

    def follow_instructions(self, link: str) -> None:
        """Open the project's instructions and, in them, the link to the guide."""
        self.page.get_by_role("button", name="Instructions").click()
        self.page.get_by_role("link", name=link).click()
        self.page.wait_for_url("**/guide")

    def read_sources(self) -> dict[str, str]:
        """The address that each Image tag of the page shows, by the tag's name."""
        return dict(self.page.evaluate(_SHOWN_SOURCES))

    def await_regions(self) -> None:
        """Wait until there is a region on the page: the task's answer waits for its prediction."""
        self.page.wait_for_function(f"() => ({_COUNT})() > 0")

    def read_regions(self) -> list[tuple[str, str]]:
        """The id and the origin of each region on the page, accepted ones and those of a prediction."""
        return [(str(identifier), str(origin)) for identifier, origin in self.page.evaluate(_REGIONS)]

    def draw_bitmasks(self) -> list[str]:
        """The accepted bitmasks as the page writes them anew from what it shows, which it does after each stroke."""
        return list(self.page.evaluate(_SNAPSHOT))

    def shoot_marked(self, name: str, beside: Sequence[Locator], above: Sequence[Locator]) -> None:
        """Keep a screenshot with a number at each of these: above the one kind first, then beside the other."""
        places = []
        for what in (*above, *beside):
            box = what.bounding_box()
            assert box is not None
            if what in above:
                places.append((box["x"] + box["width"] / 2, box["y"] - _MARK_GAP - _MARK_SIZE))
            else:
                places.append((box["x"] + box["width"] + _MARK_GAP, box["y"] + (box["height"] - _MARK_SIZE) / 2))
        for number, place in enumerate(places, 1):
            self.page.evaluate(_MARK, [number, *place])
        self.shoot(name)
        self.page.evaluate(_UNMARK)

    def press(self, x: float, y: float, *, alt: bool = False, over_box: bool = False) -> None:
        """A bare click, without waiting for what it brings. over_box: with Ctrl, as else a box under it is selected."""
        place = self._locate(x, y)
        keys = ["Alt"] * alt + ["Control"] * over_box
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.click(*place)
        for key in keys:
            self.page.keyboard.up(key)

    def click(
        self, label: str, x: float, y: float, *, alt: bool = False, row: int = 0, over_box: bool = False
    ) -> Exchange:
        """Select the label, click, and wait for the answer; a mask is on the page then."""
        self.select_label(label, row)
        with self.expect_click() as caught:
            self.press(x, y, alt=alt, over_box=over_box)
        return self.await_answer(caught.value)

    def draw_box(self, label: str, start: tuple[float, float], end: tuple[float, float], *, row: int = 0) -> Exchange:
        """Select the label, drag a rectangle from one corner to the other, and wait for the answer as `click` does."""
        self.select_label(label, row)
        with self.expect_click() as caught:
            self._drag(start, end)
        return self.await_answer(caught.value)

    def draw_box_by_hand(self, label: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The same with Auto-Annotation off: a rectangle that asks for nothing."""
        self._toggle(_AUTO_ANNOTATION, "Auto-Annotation", wanted=False)
        self.select_label(label)
        before = self.page.evaluate(_COUNT)
        self._drag(start, end)
        self.page.wait_for_function(f"before => ({_COUNT})() === before + 1", arg=before)

    def turn_page(self) -> None:
        """To the next page of an image that has several."""
        self.page.locator(_NEXT_PAGE).click()
        self.page.wait_for_function(_IS_LOADED)

    def expect_click(self):
        """For a ``with`` around `press`: its ``value`` is the response."""
        return self.page.expect_response(lambda response: _CLICK_PATH in response.url)

    def await_answer(self, response: Response) -> Exchange:
        """The exchange, once the page shows its regions, pending or accepted."""
        exchange = read_exchange(response)
        for region in exchange.regions:
            self.page.wait_for_function(f"id => ({_SHOWS})(id) || ({_HAS})(id)", arg=region["id"])
        self.page.wait_for_function("() => !Htx.awaitingSuggestions")
        return exchange

    def shows(self, region: str) -> bool:
        """Whether the page shows a mask of this id that is not accepted yet."""
        return bool(self.page.evaluate(_SHOWS, region))

    def accept(self) -> None:
        self.page.locator(_ACCEPT).click()
        expect(self.page.locator(_ACCEPT)).to_be_hidden(timeout=PATIENCE_MS)

    def submit(self) -> list[dict[str, Any]]:
        """Submit, and give the regions as Label Studio has them saved."""
        with self.page.expect_response(
            lambda response: "/annotations" in response.url and response.request.method == "POST"
        ) as saved:
            self.page.locator(_SUBMIT).click()
        assert saved.value.ok, saved.value.text()
        annotation = self.page.request.get(f"{self._url}/api/annotations/{saved.value.json()['id']}/")
        return list(annotation.json()["result"])

    def await_draft(self, regions: int) -> None:
        """Wait until the page has saved that many regions by itself, which it does every few seconds."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self._is_saved(regions):
            assert time.monotonic() < deadline, f"no draft of {regions} regions was saved"
            self.page.wait_for_timeout(_POLL_MS)

    def shoot(self, name: str) -> None:
        """Keep a screenshot."""
        self._shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._shots / f"{name}.png")

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        places = [self._locate(*corner) for corner in (start, end)]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        self.page.mouse.move(*places[1], steps=_DRAG_STEPS)
        self.page.mouse.up()

    def _locate(self, x: float, y: float) -> tuple[float, float]:
        """A position in the image as one in the window, in pixels."""
        box = self.page.locator(_CANVAS).first.bounding_box()
        assert box is not None
        # The canvas is as wide as its column; the image may leave some of it free.
        width, height = self.page.evaluate(_SHOWN_SIZE)
        return box["x"] + width * x, box["y"] + height * y

    def _is_saved(self, regions: int) -> bool:
        task = self.page.request.get(f"{self._url}/api/tasks/{self._task}").json()
        return any(len(draft["result"]) == regions for draft in task["drafts"])

    def _wait_for_image(self) -> None:
        self.page.wait_for_selector(_CANVAS)
        self.page.wait_for_selector(_LABEL)
        self.page.wait_for_load_state("networkidle")

    def _toggle(self, selector: str, text: str, *, wanted: bool) -> None:
        box = self.page.locator(selector)
        box.wait_for(state="attached")
        if box.is_checked() != wanted:
            # The box itself is hidden behind its label.
            self.page.get_by_text(text, exact=True).click()
            self.page.wait_for_function(
                "([selector, wanted]) => document.querySelector(selector).checked === wanted", arg=[selector, wanted]
            )


def read_exchange(response: Response) -> Exchange:
    """The click and its answer, both as the browser had them."""
    assert response.status == 200, response.text()
    body = json.loads(response.request.post_data or "")
    return Exchange(body["context"]["result"], response.json())
