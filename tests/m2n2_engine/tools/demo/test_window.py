"""What OpenCV says of mouse and keys -> signals; the window itself is stood in for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from m2n2_engine.tools.demo.window import Signal, Window


class FakeOpenCv:
    """Its windows on a screen that nobody sees; shown: the pictures, as OpenCV was given them."""

    def __init__(self) -> None:
        self.key = -1
        self.is_visible: Callable[[], float] = lambda: 1.0
        self.shown: list[np.ndarray] = []
        self.is_closed = False

    def namedWindow(self, title: str, flags: int) -> None:
        assert title == "test"

    def setMouseCallback(self, title: str, callback: Callable[[int, int, int, int, Any], None]) -> None:
        self._callback = callback

    def imshow(self, title: str, picture: np.ndarray) -> None:
        self.shown.append(picture)

    def waitKeyEx(self, milliseconds: int) -> int:
        return self.key

    def getWindowProperty(self, title: str, which: int) -> float:
        assert which == cv2.WND_PROP_VISIBLE
        return self.is_visible()

    def destroyAllWindows(self) -> None:
        self.is_closed = True

    def move(self, event: int, column: int, row: int) -> None:
        self._callback(event, column, row, 0, None)


@pytest.fixture
def opencv() -> FakeOpenCv:
    return FakeOpenCv()


def test_the_windows_are_opencvs_own() -> None:
    for name in ("namedWindow", "setMouseCallback", "imshow", "waitKeyEx", "getWindowProperty", "destroyAllWindows"):
        assert callable(getattr(cv2, name))


def test_closing_closes_it(opencv: FakeOpenCv) -> None:
    Window("test", opencv).close()
    assert opencv.is_closed


def test_a_drag_is_told_in_steps_and_a_tremble_is_not(opencv: FakeOpenCv) -> None:
    window = Window("test", opencv)
    opencv.move(cv2.EVENT_LBUTTONDOWN, 10, 10)
    for column in (11, 12, 13, 14, 15, 20):
        opencv.move(cv2.EVENT_MOUSEMOVE, column, 10)
    opencv.move(cv2.EVENT_LBUTTONUP, 21, 10)
    opencv.move(cv2.EVENT_MOUSEMOVE, 40, 10)
    places = [(signal.name, signal.column) for signal in window.poll()]
    assert places == [("left button", 10), ("drag", 14), ("drag", 20), ("release", 21)]


def test_buttons_are_signals_and_moves_are_not(opencv: FakeOpenCv) -> None:
    window = Window("test", opencv)
    for event in (cv2.EVENT_MOUSEMOVE, cv2.EVENT_LBUTTONDOWN, cv2.EVENT_LBUTTONUP, cv2.EVENT_LBUTTONDBLCLK):
        opencv.move(event, 3, 4)
    opencv.move(cv2.EVENT_RBUTTONDOWN, 5, 6)
    names = ["left button", "release", "left button", "right button"]
    expected = [Signal(name, *place) for name, place in zip(names, [(3, 4)] * 3 + [(5, 6)], strict=True)]
    assert window.poll() == expected
    assert window.poll() == []


@pytest.mark.parametrize(("key", "name"), [(ord("i"), "i"), (ord("I"), "i"), (27, "escape"), (8, "backspace")])
def test_keys_are_pressed_where_the_mouse_is(opencv: FakeOpenCv, key: int, name: str) -> None:
    window = Window("test", opencv)
    opencv.key = key
    assert window.poll() == [Signal(name, -1, -1)]
    opencv.move(cv2.EVENT_MOUSEMOVE, 7, 8)
    assert window.poll() == [Signal(name, 7, 8)]


@pytest.mark.parametrize("key", [0xFF52, 0xFFE1, 0, 0x250000, ord("7")])
def test_other_keys_are_none(opencv: FakeOpenCv, key: int) -> None:
    opencv.key = key
    assert Window("test", opencv).poll() == []


def test_a_window_that_is_gone_was_closed(opencv: FakeOpenCv) -> None:
    def complain() -> float:
        raise cv2.error("NULL guiReceiver (please create a window)")

    window = Window("test", opencv)
    for answer in (lambda: 0.0, lambda: -1.0, complain):
        opencv.is_visible = answer
        assert window.poll() == [Signal("closed", -1, -1)]


def test_pictures_are_rgb(opencv: FakeOpenCv) -> None:
    Window("test", opencv).show(np.full((2, 2, 3), (1, 2, 3), np.uint8))
    assert opencv.shown[0][0, 0].tolist() == [3, 2, 1]
