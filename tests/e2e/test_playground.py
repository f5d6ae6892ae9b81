"""The page at /, driven in a real browser. Every mask that is taken home is compared with the engine's own."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from PIL import Image as PillowImage
from PIL import ImageDraw
from playwright.sync_api import Browser, expect
from pycocotools import mask as coco_mask

from backend.tools.studio.processes import Server, make_backend
from m2n2_engine.image_file import decode_image
from m2n2_engine.types import Box, Click, Mask, Stroke
from tests.helpers.label_studio.photographs import read_sample
from tests.helpers.paths import ROOT
from tests.helpers.playground import ANSWER_MILLISECONDS, Visitor, read_download

from .conftest import find_free_port

OUT = ROOT / "out" / "e2e" / "playground"
START_SECONDS = 300.0
# Where no mask is compared: it starts at once.
TINY = {"M2N2_BACKBONE": "tiny", "M2N2_GRID": "8", "M2N2_DISK_CACHE_MIB": "0"}
DESKTOP = (1280, 800)
PHONE = (360, 640)
COFFEE = "coffee.png"
COFFEE_SIZE = (600, 400)
BLUE, ORANGE = (0x3B, 0x82, 0xF6), (0xF5, 0x9E, 0x0B)
CUP, SPOON, TABLE = (0.47, 0.3), (0.6, 0.62), (0.1, 0.9)


@pytest.fixture(scope="module")
def server(engine_settings: dict[str, str]) -> Iterator[Server]:
    OUT.mkdir(parents=True, exist_ok=True)
    with make_backend(engine_settings, find_free_port(), OUT / "backend.log") as server:
        server.wait_ready(START_SECONDS)
        yield server


@pytest.fixture
def make_visitor(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Somebody with a browser of their own. In the end nothing was asked of another host, and nothing was wrong but
    what the test expects."""
    visitors: list[tuple[Visitor, str]] = []

    def make(server: Server, size: tuple[int, int] = DESKTOP, complaint: str = "", **options: Any) -> Visitor:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        name = request.node.name.replace("/", "_")
        visitors.append((Visitor(context, server.url, OUT / name), complaint))
        return visitors[-1][0]

    yield make
    for visitor, complaint in visitors:
        visitor.shoot("last")
        visitor.page.context.close()
        assert visitor.hosts == {visitor.url.partition("//")[2]}
        assert [each for each in visitor.complaints if not complaint or complaint not in each] == []


@pytest.fixture
def visitor(make_visitor: Callable[..., Visitor], server: Server) -> Visitor:
    visitor = make_visitor(server)
    visitor.open(COFFEE, read_sample(COFFEE), COFFEE_SIZE)
    return visitor


@pytest.fixture
def find_mask(engine: Any) -> Callable[[bytes, dict[str, Any]], Mask]:
    """The engine's own mask for what the page asked."""

    def find(data: bytes, asked: dict[str, Any]) -> Mask:
        marks = [
            Click(*mark["points"][0], mark["positive"])
            if len(mark["points"]) == 1
            else Stroke(tuple((x, y) for x, y in mark["points"]), mark["positive"])
            for mark in asked["marks"]
        ]
        box = None if asked["box"] is None else Box(*asked["box"])
        mask: Mask = engine.segment(decode_image(data), marks, box).mask
        return mask

    return find


def read_grey(content: bytes) -> np.ndarray:
    with PillowImage.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def read_mask(visitor: Visitor) -> Mask:
    """Of the chosen object, as it is taken home."""
    _, content = visitor.download("mask")
    values = read_grey(content)
    assert set(np.unique(values)) <= {0, 255}
    return values == 255


def draw_polygons(polygons: list[dict[str, Any]], size: tuple[int, int]) -> Mask:
    """Outlines filled, holes left out."""
    image = PillowImage.new("1", size)
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        draw.polygon([tuple(point) for point in polygon["outline"]], fill=1)
        for hole in polygon["holes"]:
            draw.polygon([tuple(point) for point in hole], fill=0)
    return np.asarray(image)


def find_overlap(mask: Mask, other: Mask) -> float:
    return float((mask & other).sum() / (mask | other).sum())


def find_inside(mask: Mask) -> Mask:
    """The pixels of a mask that are some pixels away from its edge, and from that of the image."""
    square = np.ones((11, 11), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(eroded == 1)


def test_a_dropped_image_a_click_and_a_correction(visitor, find_mask):
    data = read_sample(COFFEE)
    first = visitor.click(*CUP)
    assert [mark["positive"] for mark in first["marks"]] == [True]
    expect(visitor.status).to_contain_text("Found in")
    np.testing.assert_array_equal(read_mask(visitor), find_mask(data, first))
    second = visitor.click(*SPOON, button="right")
    assert [mark["positive"] for mark in second["marks"]] == [True, False]
    third = visitor.click(*TABLE, modifiers=["Alt"])
    assert [mark["positive"] for mark in third["marks"]] == [True, False, False]
    np.testing.assert_array_equal(read_mask(visitor), find_mask(data, third))
    expect(visitor.page.locator("#engine")).to_contain_text("Preset consensus")


def test_the_other_sign_is_chosen_by_a_toggle(visitor):
    visitor.click(*CUP)
    visitor.page.locator("[data-sign=not]").click()
    asked = visitor.click(*TABLE)
    assert [mark["positive"] for mark in asked["marks"]] == [True, False]


def test_a_box_and_a_scribble(visitor, find_mask):
    data = read_sample(COFFEE)
    visitor.page.locator("[data-tool=box]").click()
    asked = visitor.drag((0.65, 0.85), (0.2, 0.1))
    np.testing.assert_allclose(asked["box"], [120, 40, 390, 340], atol=2)
    np.testing.assert_array_equal(read_mask(visitor), find_mask(data, asked))
    asked = visitor.drag((0.3, 0.6), (0.35, 0.7), (0.45, 0.72), modifiers=("Shift",))
    (stroke,) = asked["marks"]
    assert len(stroke["points"]) > 5
    assert stroke["positive"]
    np.testing.assert_array_equal(read_mask(visitor), find_mask(data, asked))


def test_undo_redo_and_clear(visitor):
    visitor.click(*CUP)
    one = read_mask(visitor)
    visitor.click(*TABLE)
    two = read_mask(visitor)
    assert (one != two).any()
    visitor.page.locator("#objects .name").fill("Cup")
    visitor.press("Enter", "z")
    assert [name for name, _ in visitor.list_objects()] == ["Cup"]
    np.testing.assert_array_equal(read_mask(visitor), one)
    visitor.press("y")
    np.testing.assert_array_equal(read_mask(visitor), two)
    visitor.page.locator("#undo").click()
    visitor.page.locator("#undo").click()
    assert visitor.list_objects() == [("Cup", "")]
    expect(visitor.page.locator("[data-download=mask]")).to_be_hidden()
    visitor.press("y")
    visitor.page.locator("#clear").click()
    assert visitor.list_objects() == [("Cup", "")]
    visitor.press("z")
    np.testing.assert_array_equal(read_mask(visitor), one)


def test_the_next_size_and_a_correction_of_it(visitor):
    visitor.click(*CUP)
    sizes = [read_mask(visitor)]
    with visitor.expect_mask() as asked:
        visitor.press("n")
    assert asked["sizes"] is True
    expect(visitor.status).to_contain_text("Size ")
    count = int(visitor.status.inner_text().rpartition("of ")[2].rstrip("."))
    assert count > 1
    sizes.append(read_mask(visitor))
    assert (sizes[0] != sizes[1]).any()
    asked = visitor.click(*SPOON)
    start = np.repeat(np.arange(len(asked["start"])) % 2 == 1, asked["start"]).reshape(COFFEE_SIZE[::-1])
    np.testing.assert_array_equal(start, sizes[1])
    visitor.press("z")
    np.testing.assert_array_equal(read_mask(visitor), sizes[1])


def test_two_objects_and_every_file(visitor, find_mask):
    data = read_sample(COFFEE)
    cup = find_mask(data, visitor.click(*CUP))
    visitor.page.locator("#objects .name").first.fill("Cup")
    visitor.page.locator("#new-object").click()
    table = find_mask(data, visitor.click(*TABLE))
    assert [name for name, _ in visitor.list_objects()] == ["Cup", "Object 2"]
    visitor.shoot("two_objects")

    name, content = visitor.download("mask")
    assert name == "coffee_mask.png"
    np.testing.assert_array_equal(read_grey(content) == 255, table)

    name, content = visitor.download("labels")
    assert name == "coffee_labels.png"
    np.testing.assert_array_equal(read_grey(content), np.where(table, 2, np.where(cup, 1, 0)))

    name, content = visitor.download("coco")
    assert name == "coffee_coco.json"
    coco = json.loads(content)
    assert coco["images"] == [{"id": 1, "file_name": COFFEE, "width": 600, "height": 400}]
    assert [each["name"] for each in coco["categories"]] == ["Cup", "Object 2"]
    for annotation, mask in zip(coco["annotations"], (cup, table), strict=True):
        runs = coco_mask.frPyObjects(annotation["segmentation"], 400, 600)
        np.testing.assert_array_equal(coco_mask.decode(runs) == 1, mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(runs).tolist()

    name, content = visitor.download("polygons")
    assert name == "coffee_polygons.json"
    found = json.loads(content)["objects"]
    for one, mask in zip(found, (cup, table), strict=True):
        assert find_overlap(draw_polygons(one["polygons"], COFFEE_SIZE), mask) > 0.97

    name, content = visitor.download("overlay")
    assert name == "coffee_overlay.png"
    overlay = np.asarray(PillowImage.open(io.BytesIO(content)).convert("RGB")).astype(float)
    for mask, other, color in ((cup, table, BLUE), (table, cup, ORANGE)):
        # Away from the outlines, the image with 45 % of the object's colour.
        inside = find_inside(mask) & find_inside(~other)
        assert inside.any()
        expected = 0.55 * decode_image(data)[inside] + 0.45 * np.array(color)
        assert np.abs(overlay[inside] - expected).max() <= 3


def test_an_object_is_gone_back_to(visitor):
    visitor.click(*CUP)
    visitor.press("a")
    visitor.click(*TABLE)
    visitor.page.locator("#objects .pick").first.click()
    asked = visitor.click(*SPOON)
    assert (asked["object"], len(asked["marks"])) == ("object-1", 2)
    visitor.page.locator("#objects .remove").last.click()
    assert [name for name, _ in visitor.list_objects()] == ["Object 1"]


def test_a_reload_loses_nothing(visitor):
    visitor.click(*CUP)
    before, listed = read_mask(visitor), visitor.list_objects()
    visitor.page.locator("#objects .name").fill("Cup")
    visitor.press("Enter")
    visitor.page.wait_for_timeout(500)  # for the browser to keep it, after the last change
    visitor.page.reload()
    visitor.await_image(COFFEE_SIZE)
    np.testing.assert_array_equal(read_mask(visitor), before)
    assert visitor.list_objects() == [("Cup", listed[0][1])]
    asked = visitor.click(*SPOON)
    assert len(asked["marks"]) == 2
    visitor.page.locator("#other-image").click()
    visitor.page.wait_for_timeout(500)
    visitor.page.reload()
    expect(visitor.page.locator("#welcome")).to_be_visible()


def test_zooming_and_moving_keep_clicks_where_they_belong(visitor):
    x, y = visitor.find(*CUP)
    visitor.page.mouse.move(x, y)
    for _ in range(5):
        visitor.page.mouse.wheel(0, -120)
    expect(visitor.page.locator("#zoom-text")).not_to_have_text("100 %")
    with visitor.expect_mask() as asked:
        visitor.page.mouse.click(x, y)
    np.testing.assert_allclose(asked["marks"][0]["points"][0], [0.47 * 600, 0.3 * 400], atol=1)
    visitor.page.mouse.down()
    visitor.page.mouse.move(x + 80, y + 50, steps=4)
    visitor.page.mouse.up()
    with visitor.expect_mask() as asked:
        visitor.page.mouse.click(x + 80, y + 50)
    np.testing.assert_allclose(asked["marks"][1]["points"][0], [0.47 * 600, 0.3 * 400], atol=1)
    visitor.shoot("zoomed")


def test_a_page_at_twice_its_size(make_visitor, server):
    """As a desktop's browser shows it at 200 %: half as many pixels of the page, each twice as large."""
    visitor = make_visitor(server, (DESKTOP[0] // 2, DESKTOP[1] // 2), device_scale_factor=2)
    visitor.shoot("welcome")
    visitor.page.get_by_role("button", name="Coffee").click()
    visitor.await_image(COFFEE_SIZE)
    asked = visitor.click(*CUP)
    np.testing.assert_allclose(asked["marks"][0]["points"][0], [0.47 * 600, 0.3 * 400], atol=3)
    assert visitor.overflow_pixels == 0
    for button in visitor.page.locator("#tools button").all():
        assert button.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(make_visitor, server, scheme):
    visitor = make_visitor(server, PHONE, device_scale_factor=2, has_touch=True, is_mobile=True, color_scheme=scheme)
    assert visitor.overflow_pixels == 0
    visitor.shoot("welcome")
    visitor.page.get_by_role("button", name="Coffee").tap()
    visitor.await_image(COFFEE_SIZE)
    with visitor.expect_mask() as asked:
        visitor.page.touchscreen.tap(*visitor.find(*CUP))
    np.testing.assert_allclose(asked["marks"][0]["points"][0], [0.47 * 600, 0.3 * 400], atol=3)
    visitor.page.locator("[data-sign=not]").tap()
    with visitor.expect_mask() as asked:
        visitor.page.touchscreen.tap(*visitor.find(*TABLE))
    assert [mark["positive"] for mark in asked["marks"]] == [True, False]
    assert visitor.overflow_pixels == 0
    for button in visitor.page.locator("#tools button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44
    visitor.shoot("masked")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_desktop(make_visitor, server, scheme):
    visitor = make_visitor(server, color_scheme=scheme)
    visitor.shoot("welcome")
    visitor.page.get_by_role("button", name="Astronaut").click()
    visitor.await_image((512, 512))
    visitor.click(0.44, 0.645)
    visitor.click(0.44, 0.215)
    visitor.press("a")
    visitor.click(0.8, 0.3)
    visitor.shoot("masked")
    visitor.press("?")
    expect(visitor.page.locator("#help")).to_be_visible()
    visitor.shoot("help")
    visitor.press("Escape")
    expect(visitor.page.locator("#help")).to_be_hidden()


def test_the_keyboard_alone(make_visitor, server):
    visitor = make_visitor(server)
    coffee = visitor.page.get_by_role("button", name="Coffee")
    for _ in range(10):
        visitor.press("Tab")
        if coffee.evaluate("button => button === document.activeElement"):
            break
    visitor.press("Enter")
    visitor.await_image(COFFEE_SIZE)
    expect(visitor.page.locator("#canvas")).to_be_focused()
    with visitor.expect_mask() as asked:
        visitor.press("ArrowUp", "ArrowUp", "ArrowLeft", "Enter")
    ((x, y),) = asked["marks"][0]["points"]
    assert x < 300
    assert y < 200
    with visitor.expect_mask() as asked:
        visitor.press("Shift+ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft", "Alt+Enter")
    assert [mark["positive"] for mark in asked["marks"]] == [True, False]
    with visitor.expect_mask() as asked:
        visitor.press("b", "Enter", *["Shift+ArrowDown"] * 3, *["Shift+ArrowRight"] * 4, "Enter")
    assert asked["box"] is not None
    with visitor.expect_mask() as asked:
        visitor.press("s", "Enter", "ArrowUp", "ArrowUp", "ArrowUp", "Enter")
    assert len(asked["marks"][-1]["points"]) == 4
    visitor.press("z", "z", "p")
    for _ in range(40):
        visitor.press("Tab")
        if visitor.page.locator("[data-download=mask]").evaluate("button => button === document.activeElement"):
            break
    visitor.shoot("focus")
    with visitor.page.expect_download() as started:
        visitor.press("Enter")
    name, content = read_download(started.value)
    assert name == "coffee_mask.png"
    assert read_grey(content).any()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("notes.png", b"no image at all", "no image file"),
        ("empty.png", b"", "is empty"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "export it as PNG"),
        ("torn.png", read_sample(COFFEE)[:20_000], "damaged"),
    ],
)
def test_a_hostile_image_gets_a_sentence(make_visitor, server, name, data, words):
    visitor = make_visitor(server, complaint="the server responded with a status of 400")
    visitor.drop(name, data)
    expect(visitor.notice).to_contain_text(words)
    expect(visitor.page.locator("#progress")).to_be_hidden()
    expect(visitor.page.locator("#notice-retry")).to_be_hidden()
    visitor.shoot("notice")
    visitor.open(COFFEE, read_sample(COFFEE), COFFEE_SIZE)
    expect(visitor.notice).to_be_hidden()


def test_an_image_that_this_browser_cannot_show(make_visitor, server):
    file = io.BytesIO()
    PillowImage.new("RGB", (64, 48), "teal").save(file, "TIFF")
    visitor = make_visitor(server)
    visitor.drop("scan.tif", file.getvalue(), "image/tiff")
    expect(visitor.notice).to_contain_text("This browser cannot show scan.tif")


def test_a_full_server_gets_a_sentence_and_a_second_try(make_visitor):
    """Two threads leave one place for predictions, which another client holds with one large image after the other."""
    is_over = threading.Event()

    def hold(url: str) -> None:
        noise, headers = np.random.default_rng(0), {"X-M2N2-Visitor": "1" * 32}
        while not is_over.is_set():
            file = io.BytesIO()
            PillowImage.fromarray(noise.integers(0, 256, (1500, 2000, 3), np.uint8)).save(file, "PNG")
            kind = {"Content-Type": "application/octet-stream"}
            requests.post(f"{url}/playground/images", data=file.getvalue(), headers={**headers, **kind}, timeout=60)

    with make_backend({**TINY, "M2N2_SERVER_THREADS": "2"}, find_free_port(), OUT / "full.log") as server:
        server.wait_ready(START_SECONDS)
        visitor = make_visitor(server, complaint="the server responded with a status of 503")
        visitor.open(COFFEE, read_sample(COFFEE), COFFEE_SIZE)
        holder = threading.Thread(target=hold, args=(server.url,))
        holder.start()
        try:
            while not visitor.notice.is_visible():
                visitor.page.mouse.click(*visitor.find(*CUP))
                visitor.page.wait_for_timeout(50)
            expect(visitor.notice).to_contain_text("1 predictions are under way")
            expect(visitor.page.locator("#progress")).to_be_hidden()
            visitor.shoot("notice")
        finally:
            is_over.set()
            holder.join()
        with visitor.expect_mask():
            visitor.page.locator("#notice-retry").click()
        expect(visitor.notice).to_be_hidden()
        assert read_mask(visitor).any()


def test_a_lost_server_gets_a_sentence_and_is_gone_on_with(make_visitor):
    """Nothing is kept by a server that starts again: the page sends the image once more."""
    server = make_backend(TINY, find_free_port(), OUT / "lost.log")
    with server:
        server.wait_ready(START_SECONDS)
        visitor = make_visitor(server, complaint="Failed to load resource")
        visitor.open(COFFEE, read_sample(COFFEE), COFFEE_SIZE)
        server.stop()
        visitor.page.mouse.click(*visitor.find(*CUP))
        expect(visitor.notice).to_contain_text("The server does not answer")
        visitor.shoot("notice")
        server.start()
        server.wait_ready(START_SECONDS)
        visitor.page.locator("#notice-retry").click()
        expect(visitor.status).to_contain_text("Found in", timeout=ANSWER_MILLISECONDS)
        assert read_mask(visitor).any()
