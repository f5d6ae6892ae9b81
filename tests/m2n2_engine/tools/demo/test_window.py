"""What OpenCV says of mouse and keys -> signals; the window itself is stood in for."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from m2n2_engine.tools.demo.window import Signal, Window


class FakeOpenCv:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key = -1
        self.is_visible: Callable[[], float] = lambda: 1.0
        self.shown: list[np.ndarray] = []
        monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: None)
        monkeypatch.setattr(cv2, "setMouseCallback", lambda title, callback: setattr(self, "on_mouse", callback))
        monkeypatch.setattr(cv2, "waitKeyEx", lambda milliseconds: self.key)
        monkeypatch.setattr(cv2, "imshow", lambda title, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: self.is_visible())

    def move(self, event: int, column: int, row: int) -> None:
        self.on_mouse(event, column, row, 0, None)  # type: ignore[attr-defined]


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> FakeOpenCv:
    return FakeOpenCv(monkeypatch)


def test_buttons_are_signals_and_moves_are_not(opencv: FakeOpenCv) -> None:
    window = Window("test")
    for event in (cv2.EVENT_MOUSEMOVE, cv2.EVENT_LBUTTONDOWN, cv2.EVENT_LBUTTONUP, cv2.EVENT_LBUTTONDBLCLK):
        opencv.move(event, 3, 4)
    opencv.move(cv2.EVENT_RBUTTONDOWN, 5, 6)
    expected = [Signal("left button", 3, 4), Signal("left button", 3, 4), Signal("right button", 5, 6)]
    assert window.poll() == expected
    assert window.poll() == []


@pytest.mark.parametrize(("key", "name"), [(ord("i"), "i"), (ord("I"), "i"), (27, "escape"), (8, "backspace")])
def test_keys_are_pressed_where_the_mouse_is(opencv: FakeOpenCv, key: int, name: str) -> None:
    window = Window("test")
    opencv.key = key
    assert window.poll() == [Signal(name, -1, -1)]
    opencv.move(cv2.EVENT_MOUSEMOVE, 7, 8)
    assert window.poll() == [Signal(name, 7, 8)]


@pytest.mark.parametrize("key", [0xFF52, 0xFFE1, 0, 0x250000, ord("7")])
def test_other_keys_are_none(opencv: FakeOpenCv, key: int) -> None:
    opencv.key = key
    assert Window("test").poll() == []


def test_a_window_that_is_gone_was_closed(opencv: FakeOpenCv) -> None:
    def complain() -> float:
        raise cv2.error("NULL guiReceiver (please create a window)")

    window = Window("test")
    for answer in (lambda: 0.0, lambda: -1.0, complain):
        opencv.is_visible = answer
        assert window.poll() == [Signal("closed", -1, -1)]


def test_pictures_are_rgb(opencv: FakeOpenCv) -> None:
    Window("test").show(np.full((2, 2, 3), (1, 2, 3), np.uint8))
    assert opencv.shown[0][0, 0].tolist() == [3, 2, 1]
