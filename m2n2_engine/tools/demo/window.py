"""A window of OpenCV. Nothing else here knows one."""

from __future__ import annotations

import math
from collections.abc import Callable
from string import ascii_letters
from typing import Any, NamedTuple, Protocol, cast

import cv2
import numpy as np

from m2n2_engine.types import Image

_POLL_MILLISECONDS = 20
_KEYS = {8: "backspace", 27: "escape", 127: "backspace"} | {ord(letter): letter.lower() for letter in ascii_letters}
"""What OpenCV gives for a key -> its name in ``state.ACTIONS``."""

_BUTTONS = {
    cv2.EVENT_LBUTTONDOWN: "left button",
    cv2.EVENT_LBUTTONDBLCLK: "left button",
    cv2.EVENT_LBUTTONUP: "release",
    cv2.EVENT_RBUTTONDOWN: "right button",
    cv2.EVENT_RBUTTONDBLCLK: "right button",
    cv2.EVENT_RBUTTONUP: "release",
}
"""The second of two quick clicks is a double click to OpenCV, and no click."""

_LEAST_DRAG_PIXELS = 4.0
"""A hand that clicks trembles: shorter ways of the mouse are none."""


class Signal(NamedTuple):
    """A key or a button was pressed or let go, the mouse dragged, or the window closed, with the mouse at this pixel of
    the picture."""

    name: str
    column: int
    row: int


class HighGui(Protocol):
    """OpenCV's functions for windows, as far as one is used here."""

    def namedWindow(self, winname: str, flags: int, /) -> None: ...

    def setMouseCallback(self, windowName: str, onMouse: Callable[[int, int, int, int, Any], None], /) -> None: ...

    def imshow(self, winname: str, mat: Image, /) -> None: ...

    def waitKeyEx(self, delay: int, /) -> int: ...

    def getWindowProperty(self, winname: str, prop_id: int, /) -> float: ...

    def destroyAllWindows(self) -> None: ...


_OPENCV = cast(HighGui, cv2)


class Window:
    """Shows pictures one to one, and collects what is done in it."""

    def __init__(self, title: str, gui: HighGui = _OPENCV) -> None:
        """Needs a display: see ``display.require_display``. gui: what opens windows."""
        self._title = title
        self._gui = gui
        self._cursor = (-1, -1)
        self._dragged: tuple[int, int] | None = None
        self._signals: list[Signal] = []
        gui.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        gui.setMouseCallback(title, self._on_mouse)

    def show(self, picture: Image) -> None:
        """Show an RGB picture."""
        self._gui.imshow(self._title, np.ascontiguousarray(picture[:, :, ::-1]))

    def poll(self) -> list[Signal]:
        """What was done since the last call, in order; waits a moment for it."""
        key = self._gui.waitKeyEx(_POLL_MILLISECONDS)  # waitKey gives arrows and others the codes of letters
        signals, self._signals = self._signals, []
        if key in _KEYS:
            signals.append(Signal(_KEYS[key], *self._cursor))
        if not self._is_open():
            signals.append(Signal("closed", *self._cursor))
        return signals

    def close(self) -> None:
        """Close it, if nobody did."""
        self._gui.destroyAllWindows()

    def _is_open(self) -> bool:
        try:
            return bool(self._gui.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0)
        except cv2.error:  # Qt's answer after the last window was closed
            return False

    def _on_mouse(self, event: int, column: int, row: int, flags: int, data: object) -> None:
        self._cursor = column, row
        name = _BUTTONS.get(event)
        if name is None and self._dragged is not None:
            if math.dist(self._dragged, self._cursor) < _LEAST_DRAG_PIXELS:
                return
            name = "drag"
        if name is not None:
            self._dragged = None if name == "release" else self._cursor
            self._signals.append(Signal(name, column, row))
