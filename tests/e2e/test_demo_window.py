"""The demo in a real window, with a mouse and keys, on a display of its own. Its pictures are kept."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageGrab
from Xlib import X
from Xlib.display import Display as XDisplay
from Xlib.protocol.event import ClientMessage

from m2n2_engine.image_file import decode_image
from m2n2_engine.types import Click, Image, Stroke
from tests.helpers.label_studio.photographs import assert_same, read_sample
from tests.helpers.paths import ROOT

_LONGEST_SECONDS = 300.0
_OUT = ROOT / "out" / "e2e" / "demo"
_SIDE, _SHOWN = 1536, 640
"""The photograph's width and height, and what they are reduced to in the window; both in pixels."""


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """The name of an empty screen."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1366x768x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        yield f":{number}"
        server.terminate()


@pytest.fixture
def photograph() -> Image:
    """Larger than the screen."""
    return np.asarray(cv2.resize(decode_image(read_sample("astronaut.png")), (_SIDE, _SIDE)), np.uint8)


@pytest.fixture
def photograph_file(tmp_path: Path, photograph: Image) -> Path:
    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), photograph[:, :, ::-1])
    return path


class Desktop:
    """The demo's window, and a hand that works in it."""

    def __init__(self, display: str, demo: subprocess.Popen[str]) -> None:
        self._display = display
        self._demo = demo
        self._window = self.xdotool("search", "--sync", "--name", "^M2N2: astronaut").split()[-1]
        self.xdotool("windowfocus", "--sync", self._window)

    def xdotool(self, *arguments: str) -> str:
        environment = os.environ | {"DISPLAY": self._display}
        found = subprocess.run(
            ["xdotool", *arguments], env=environment, check=True, capture_output=True, text=True, timeout=60
        )
        return found.stdout

    def point(self, column: int, row: int) -> None:
        self.xdotool("mousemove", "--sync", "--window", self._window, str(column), str(row))

    def press(self, key: str) -> None:
        self.xdotool("key", key)

    def button(self, number: int) -> None:
        self.xdotool("click", str(number))

    def drag(self, number: int, *places: tuple[int, int]) -> None:
        self.point(*places[0])
        self.xdotool("mousedown", str(number))
        for place in places[1:]:
            self.point(*place)
        self.xdotool("mouseup", str(number))

    def quit(self) -> None:
        """As the cross in its title bar does."""
        connection = XDisplay(self._display)
        wish = [connection.intern_atom("WM_DELETE_WINDOW"), X.CurrentTime, 0, 0, 0]
        window = connection.create_resource_object("window", int(self._window))
        protocols = connection.intern_atom("WM_PROTOCOLS")
        window.send_event(ClientMessage(window=window, client_type=protocols, data=(32, wish)))
        connection.sync()  # closing alone may leave it unsent
        connection.close()

    def wait(self, status: str) -> str:
        """The line in which the demo says so."""
        assert self._demo.stdout is not None
        lines: list[str] = []
        for line in self._demo.stdout:
            lines.append(line)
            if status in line:
                return line
        raise AssertionError(f"{status!r} was never said: {lines}")

    def shoot(self, name: str) -> Image:
        _OUT.mkdir(parents=True, exist_ok=True)
        picture = ImageGrab.grab(xdisplay=self._display)
        picture.save(_OUT / f"{name}.png")
        return np.asarray(picture)


@contextlib.contextmanager
def open_demo(display: str, path: Path) -> Iterator[tuple[Desktop, subprocess.Popen[str]]]:
    environment = os.environ | {"DISPLAY": display, "M2N2_DISK_CACHE_MIB": "0", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", "from backend.cli.main import main; main()", "demo", str(path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        limit = threading.Timer(_LONGEST_SECONDS, demo.kill)
        limit.start()
        try:
            yield Desktop(display, demo), demo
        finally:
            limit.cancel()
            demo.kill()


def to_click(column: int, row: int, positive: bool = True) -> Click:
    scale = _SIDE / _SHOWN
    return Click((column + 0.5) * scale, (row + 0.5) * scale, positive)


def test_an_object_is_clicked_on_and_saved(display, photograph, photograph_file, engine):
    with open_demo(display, photograph_file) as (desktop, demo):
        desktop.wait("preparing the image")
        desktop.shoot("preparing")
        desktop.wait("prepared in")
        desktop.point(281, 138)
        desktop.press("i")
        desktop.wait("1 click:")
        desktop.point(282, 413)
        desktop.button(1)
        desktop.wait("2 clicks:")
        desktop.point(588, 444)
        desktop.press("o")
        desktop.wait("3 clicks:")
        desktop.point(388, 526)
        desktop.button(3)
        desktop.wait("4 clicks:")
        desktop.point(20, 20)
        desktop.button(1)
        desktop.wait("5 clicks:")
        desktop.press("Up")  # no letter, so no reset
        desktop.press("u")
        desktop.wait("4 clicks:")
        screen = desktop.shoot("clicked")
        desktop.press("s")
        saved = desktop.wait("saved")
        desktop.shoot("saved")
        desktop.press("Escape")
        assert demo.wait(_LONGEST_SECONDS) == 0
    clicks = [to_click(281, 138), to_click(282, 413), to_click(588, 444, False), to_click(388, 526, False)]
    mask = cv2.imread(str(photograph_file.with_name("astronaut_m2n2_mask.png")), cv2.IMREAD_UNCHANGED) > 0
    assert "astronaut_m2n2_mask.png and astronaut_m2n2_overlay.png" in saved
    assert_same(mask, engine.segment(photograph, clicks).mask)
    assert screen[_SHOWN + 20 : _SHOWN + 70, :_SHOWN].max() > 200  # the text is there
    assert screen[:_SHOWN, _SHOWN:].max() == screen[_SHOWN + 120 :].max() == 0  # and nothing else beside the window


def test_a_stroke_is_drawn_and_another_size_taken(display, photograph, photograph_file, engine):
    with open_demo(display, photograph_file) as (desktop, demo):
        desktop.wait("prepared in")
        desktop.drag(1, (281, 138), (284, 250), (300, 420))
        desktop.wait("1 click:")
        desktop.shoot("stroke")
        desktop.press("n")
        place = int(desktop.wait("size ").split()[1])
        desktop.shoot("size")
        desktop.press("s")
        desktop.wait("saved")
        desktop.press("Escape")
        assert demo.wait(_LONGEST_SECONDS) == 0
    ways = [to_click(*way) for way in ((281, 138), (284, 250), (300, 420))]
    sizes = engine.candidates(photograph, [Stroke(tuple((way.x, way.y) for way in ways))])
    mask = cv2.imread(str(photograph_file.with_name("astronaut_m2n2_mask.png")), cv2.IMREAD_UNCHANGED) > 0
    assert_same(mask, sizes[place - 1].mask)


@pytest.mark.parametrize("way", ["key", "cross"])
def test_the_window_can_be_closed_at_any_time(display, photograph_file, way):
    with open_demo(display, photograph_file) as (desktop, demo):
        desktop.wait("preparing the image")
        if way == "key":
            desktop.press("Escape")
        else:
            desktop.quit()
        assert demo.wait(_LONGEST_SECONDS) == 0
