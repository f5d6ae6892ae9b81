"""The demo as a person uses it: a window without a screen, and a segmenter without a network."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from m2n2_engine.errors import OutOfMemory
from m2n2_engine.tools.demo.run import Demo, run_demo
from m2n2_engine.tools.demo.window import Signal
from m2n2_engine.types import Click, Image, Mask, Segmentation, Stroke, Tier, Timings

WIDTH, HEIGHT = 1280, 640
IMAGE = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)


class SquareSegmenter:
    """The mask is a square around every positive click. Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Click | Stroke, ...]] = []
        self.starts: list[Mask | None] = []

    def prepare(self, image: Image) -> Tier:
        return Tier.NETWORK

    def segment(self, image: Image, clicks: Sequence[Click | Stroke], mask: Mask | None = None) -> Segmentation:
        self.asked.append(tuple(clicks))
        self.starts.append(mask)
        mask = np.zeros(image.shape[:2], bool) if mask is None else mask.copy()
        for click in clicks:
            if isinstance(click, Click) and click.positive:
                mask[int(click.y) - 5 : int(click.y) + 5, int(click.x) - 5 : int(click.x) + 5] = True
        return Segmentation(mask, 0.5, Timings(0.0, 0.25))

    def candidates(
        self, image: Image, clicks: Sequence[Click | Stroke], mask: Mask | None = None
    ) -> tuple[Segmentation, ...]:
        """That mask and a strip at the top as sizes of a first click, one alone for later ones."""
        strip = np.zeros(image.shape[:2], bool)
        strip[: HEIGHT // 4] = True
        own = self.segment(image, clicks, mask)
        sizes = (own, dataclasses.replace(own, mask=own.mask | strip))
        return sizes if len(clicks) == 1 else sizes[:1]


class Person:
    """Does one thing after the other in the window, each as soon as the status is as expected; then closes it."""

    def __init__(self, segmenter: Any, target: Path) -> None:
        self.reports: list[str] = []
        self.pictures: list[Image] = []
        self.statuses: list[str] = []
        self._steps: list[tuple[Callable[[str], bool], Signal | None]] = []
        self._demo = Demo(IMAGE, segmenter, target, self.reports.append)

    def act(self, name: str, column: int = -1, row: int = -1) -> Person:
        self._steps.append((lambda _: True, Signal(name, column, row)))
        return self

    def press(self, name: str, *places: int) -> Person:
        """A button at the first place, which is held on the way to the others."""
        (column, row), *others = zip(places[::2], places[1::2], strict=True)
        self.act(name, column, row)
        for way in others:
            self.act("drag", *way)
        return self.act("release", *(others or [(column, row)])[-1])

    def wait(self, status: str) -> Person:
        self._steps.append((lambda found: status in found, None))
        return self

    def do(self, action: Callable[[], None]) -> Person:
        self._steps.append((lambda _: action() is None, None))
        return self

    def close(self) -> None:
        self.act("escape")
        self._demo.run(self)
        assert not self._steps

    def show(self, picture: Image) -> None:
        self.pictures.append(picture)
        self.statuses.append(self._demo.state.status)

    def poll(self) -> list[Signal]:
        holds, signal = self._steps[0]
        if not holds(self.statuses[-1]):
            threading.Event().wait(0.001)  # as the window does
            return []
        self._steps.pop(0)
        return [] if signal is None else [signal]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cat"


@pytest.fixture
def segmenter() -> SquareSegmenter:
    return SquareSegmenter()


@pytest.fixture
def person(segmenter: SquareSegmenter, target: Path) -> Person:
    return Person(segmenter, target)


def point(column: int, row: int, positive: bool = True) -> Click:
    return Click(column + 0.5, row + 0.5, positive)


def test_keys_and_buttons_are_clicks_where_the_mouse_is(person: Person, segmenter: SquareSegmenter) -> None:
    person.wait("click on the object").act("i", 100, 50).wait("1 click:").press("right button", 200, 60)
    person.wait("2 clicks:").press("left button", 300, 70).wait("3 clicks:").act("o", 400, 80).wait("4 clicks:").close()
    assert segmenter.asked[-1] == (point(100, 50), point(200, 60, False), point(300, 70), point(400, 80, False))
    assert [len(clicks) for clicks in segmenter.asked] == [1, 2, 3, 4]
    assert person.reports[-1].startswith("4 clicks: 0.0% of the image in 0.250 s; prepared in ")


def test_beside_the_image_nothing_is_clicked(person: Person, segmenter: SquareSegmenter) -> None:
    person.wait("click on the object").act("i").press("left button", 20, HEIGHT + 5).act("q", 20, 20).close()
    assert segmenter.asked == []


def test_a_drag_is_a_stroke(person: Person, segmenter: SquareSegmenter) -> None:
    person.wait("click on the object").press("left button", 100, 50, 120, 50, 140, 90).wait("1 click:")
    person.press("right button", 300, 70, 320, 70, WIDTH + 9, 70).wait("2 clicks:").act("drag", 5, 5).close()
    path = Stroke(((100.5, 50.5), (120.5, 50.5), (140.5, 90.5)))
    assert segmenter.asked == [(path,), (path, Stroke(((300.5, 70.5), (320.5, 70.5)), False))]


def test_a_stroke_is_seen_while_it_is_drawn_and_can_be_dropped(person: Person, segmenter: SquareSegmenter) -> None:
    person.wait("click on the object").act("left button", 100, 50).act("drag", 200, 50).act("drag", 200, 150)
    person.act("u").act("drag", 300, 50).act("release", 300, 50).act("left button", 400, 400).act("left button", 9, 9)
    person.wait("1 click:").close()
    assert segmenter.asked[-1] == (point(400, 400),)
    drawn = max(int((picture[50, 110:190] != 120).sum()) for picture in person.pictures)
    assert drawn > 100
    assert (person.pictures[-1][50, 110:190] == 120).all()


def test_the_next_size_is_shown_and_later_clicks_correct_it(person: Person, segmenter: SquareSegmenter) -> None:
    person.wait("click on").act("n").wait("there is no mask of another size yet")
    person.act("i", 300, 300).wait("1 click:").act("n").wait("size 2 of 2: 25.0% of the image")
    person.act("n").wait("size 1 of 2: 0.0%").act("n").wait("size 2 of 2").act("i", 500, 400).wait("2 clicks: 25.0%")
    person.act("n").wait("there is no other size").act("u").wait("1 click: 25.0%").act("n").wait("size 1 of 2").close()
    asked = [(len(clicks), start is not None) for clicks, start in zip(segmenter.asked, segmenter.starts, strict=True)]
    # One click, its sizes, two clicks, their sizes, one click again and its sizes.
    assert asked == [(1, False), (1, False), (2, True), (2, True), (1, True), (1, False)]


def test_a_click_while_sizes_are_looked_for_comes_first(segmenter: SquareSegmenter, target: Path) -> None:
    release = threading.Event()

    class Slow(SquareSegmenter):
        def candidates(
            self, image: Image, clicks: Sequence[Click | Stroke], mask: Mask | None = None
        ) -> tuple[Segmentation, ...]:
            assert release.wait(30)
            return super().candidates(image, clicks, mask)

    person = Person(Slow(), target)
    person.wait("click on").act("i", 300, 300).wait("1 click:").act("n").act("i", 500, 400)
    person.wait("computing 2 clicks").do(release.set).wait("2 clicks: 0.0%").close()


def test_sizes_that_cannot_be_found_are_told_of(segmenter: SquareSegmenter, target: Path) -> None:
    class Full(SquareSegmenter):
        def candidates(
            self, image: Image, clicks: Sequence[Click | Stroke], mask: Mask | None = None
        ) -> tuple[Segmentation, ...]:
            raise OutOfMemory("no memory for sizes")

    person = Person(Full(), target)
    person.wait("click on").act("i", 300, 300).wait("1 click:").act("n").wait("no memory for sizes").close()


def test_undo_and_reset(person: Person, segmenter: SquareSegmenter) -> None:
    person.wait("click on").act("i", 100, 50).wait("1 click:").act("i", 200, 60).wait("2 clicks:")
    person.act("u").wait("1 click:").act("backspace").wait("click on the object").act("u").wait("click on the object")
    person.act("i", 300, 70).wait("1 click:").act("r").wait("click on the object").close()
    assert [len(clicks) for clicks in segmenter.asked] == [1, 2, 1, 1]
    assert segmenter.asked[2] == segmenter.asked[0]


def test_saving_writes_mask_and_overlay_at_full_size(person: Person, target: Path) -> None:
    person.wait("click on").act("s").wait("there is no mask to save yet")
    person.act("i", 100, 50).wait("1 click:").act("s").wait("saved").close()
    mask = cv2.imread(f"{target}_m2n2_mask.png", cv2.IMREAD_UNCHANGED)
    overlay = cv2.imread(f"{target}_m2n2_overlay.png")
    assert (mask.shape, set(np.unique(mask)), (mask > 0).sum()) == ((HEIGHT, WIDTH), {0, 255}, 100)
    assert mask[50, 100] == 255
    assert overlay.shape == IMAGE.shape
    assert (overlay[50, 100] != IMAGE[50, 100]).any()
    assert f"saved {target}_m2n2_mask.png and cat_m2n2_overlay.png" in person.reports


def test_a_folder_that_cannot_be_written_to_is_named(segmenter: SquareSegmenter, tmp_path: Path) -> None:
    person = Person(segmenter, tmp_path / "nowhere" / "cat")
    person.wait("click on").act("i", 100, 50).wait("1 click:").act("s").wait("cannot be written").close()
    assert person.reports[-1].endswith("cat_m2n2_mask.png cannot be written: No such file or directory")


def test_the_window_answers_while_the_network_runs(segmenter: SquareSegmenter, target: Path) -> None:
    release = threading.Event()

    class Slow(SquareSegmenter):
        def prepare(self, image: Image) -> Tier:
            assert release.wait(30)
            return Tier.NETWORK

    slow = Slow()
    person = Person(slow, target)
    person.wait("preparing the image").act("i", 100, 50).wait("preparing the image; 1 click waiting")
    person.act("o", 200, 60).wait("2 clicks waiting").act("s").wait("there is no mask to save yet")
    person.do(release.set)
    person.wait("2 clicks:").close()
    assert slow.asked == [(point(100, 50), point(200, 60, False))]
    assert len(person.pictures) == len(person.statuses) <= 7  # nothing is drawn where nothing has changed


def test_what_the_engine_cannot_do_is_read_in_the_window(segmenter: SquareSegmenter, target: Path) -> None:
    class Full(SquareSegmenter):
        def prepare(self, image: Image) -> Tier:
            raise OutOfMemory("no memory to prepare")

        def segment(self, image: Image, clicks: Sequence[Click | Stroke], mask: Mask | None = None) -> Segmentation:
            if len(clicks) > 1:
                raise OutOfMemory("no memory for two")
            return super().segment(image, clicks, mask)

    full = Full()
    person = Person(full, target)
    person.wait("no memory to prepare").act("i", 100, 50).wait("1 click:").act("i", 200, 60).wait("no memory for two")
    person.act("u").wait("1 click:").close()
    assert [len(clicks) for clicks in full.asked] == [1, 1]


def test_a_fault_of_the_program_is_not_hidden(target: Path) -> None:
    class Broken(SquareSegmenter):
        def prepare(self, image: Image) -> Tier:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        Person(Broken(), target).wait("never").close()


@pytest.mark.parametrize("name", ["escape", "closed"])
def test_the_window_is_closed_after_it(name: str, segmenter: SquareSegmenter, target: Path) -> None:
    done: list[str] = []

    class OneKey:
        def __init__(self, title: str) -> None:
            done.append(title)

        def show(self, picture: Image) -> None:
            done.append("shown")

        def poll(self) -> list[Signal]:
            return [Signal(name, -1, -1)]

        def close(self) -> None:
            done.append("closed")

    run_demo(IMAGE, segmenter, target, open_window=OneKey)
    assert done == ["M2N2: cat", "shown", "closed"]
