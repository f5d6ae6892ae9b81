"""The demo itself: signals of the window change the state, a thread computes, the view shows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from m2n2_engine.errors import M2N2Error
from m2n2_engine.tools.demo.state import ACTIONS, Action, State
from m2n2_engine.tools.demo.view import View
from m2n2_engine.tools.demo.window import Signal, Window
from m2n2_engine.tools.drawing import draw_overlay, write_picture
from m2n2_engine.types import Click, Image, Mask, Segmentation, Stroke, Tier

Change = Callable[[State], State]


class Segmenter(Protocol):
    """What the demo needs of the engine; see ``m2n2_engine.types.Segmenter``."""

    def prepare(self, picture: Image, /) -> Tier: ...

    def segment(
        self, picture: Image, clicks: Sequence[Click | Stroke], /, *, mask: Mask | None = None
    ) -> Segmentation: ...

    def candidates(
        self, picture: Image, clicks: Sequence[Click | Stroke], /, *, mask: Mask | None = None
    ) -> tuple[Segmentation, ...]: ...


class Screen(Protocol):
    """What the demo needs of a window."""

    def show(self, picture: Image) -> None: ...

    def poll(self) -> Sequence[Signal]: ...


class ClosableScreen(Screen, Protocol):
    """A window that has to be closed in the end."""

    def close(self) -> None: ...


def run_demo(
    image: Image,
    segmenter: Segmenter,
    target: Path,
    report: Callable[[str], None] = print,
    open_window: Callable[[str], ClosableScreen] = Window,
) -> None:
    """Open a window and return when it is closed.

    Args:
        image: RGB uint8 ``(H, W, 3)``.
        segmenter: Finds the masks.
        target: What is saved is named after it, ``target_m2n2_mask.png`` and ``target_m2n2_overlay.png``.
        report: Is given the status whenever it changes.
        open_window: Title -> window.
    """
    window = open_window(f"M2N2: {target.name}")
    try:
        Demo(image, segmenter, target, report).run(window)
    finally:
        window.close()


class Demo:
    """One image, its clicks, and what is computed of them. state: what is known now."""

    def __init__(self, image: Image, segmenter: Segmenter, target: Path, report: Callable[[str], None]) -> None:
        self._image = image
        self._segmenter = segmenter
        self._target = target
        self._report = report
        self._view = View(image)
        self.state = State()
        self._closed = False

    def run(self, screen: Screen) -> None:
        """Until it is closed."""
        shown = None
        with ThreadPoolExecutor(1) as pool:
            job: Future[Change] | None = pool.submit(self._prepare)
            while not self._closed:
                is_new, shown = self.state is not shown, self.state
                if is_new:
                    screen.show(self._view.draw(shown))
                for signal in screen.poll():
                    self._handle(signal)
                if is_new:  # said when it can be seen
                    self._report(shown.status)
                if job is not None and job.done():
                    self.state = job.result()(self.state)
                    job = None
                if job is None and not self.state.is_answered:
                    job = pool.submit(self._segment, self.state)
                elif job is None and self.state.wants_sizes:
                    job = pool.submit(self._offer, self.state)

    def _handle(self, signal: Signal) -> None:
        point = self._view.viewport.find_point(signal.column, signal.row)
        match ACTIONS.get(signal.name):
            case (Action.FOREGROUND | Action.BACKGROUND) as action if point is not None:
                self.state = self.state.add(Click(*point, positive=action is Action.FOREGROUND))
            case (Action.DRAW_FOREGROUND | Action.DRAW_BACKGROUND) as action if point is not None:
                self.state = self.state.draw(point, positive=action is Action.DRAW_FOREGROUND)
            case Action.DRAW_ON if point is not None:
                self.state = self.state.draw_on(point)
            case Action.DRAW_END:
                self.state = self.state.stop_drawing()
            case Action.NEXT_SIZE:
                self.state = self.state.ask_for_sizes()
            case Action.UNDO:
                self.state = self.state.undo()
            case Action.RESET:
                self.state = self.state.reset()
            case Action.SAVE:
                self.state = self._save()
            case Action.CLOSE:
                self._closed = True

    def _prepare(self) -> Change:
        started = time.perf_counter()
        try:
            self._segmenter.prepare(self._image)
        except M2N2Error as error:
            problem = str(error)
            return lambda state: state.tell(problem)
        seconds = time.perf_counter() - started
        return lambda state: state.prepare(seconds)

    def _segment(self, asked: State) -> Change:
        clicks = asked.clicks
        try:
            segmentation = self._segmenter.segment(self._image, clicks, mask=asked.find_start(len(clicks)))
        except M2N2Error as error:
            problem = str(error)
            return lambda state: state.fail(clicks, problem)
        return lambda state: state.answer(clicks, segmentation)

    def _offer(self, asked: State) -> Change:
        clicks = asked.clicks
        # A size that was taken for the newest click is one of those that it is about.
        start = asked.find_start(len(clicks) - 1)
        try:
            sizes = self._segmenter.candidates(self._image, clicks, mask=start)
        except M2N2Error as error:
            problem = str(error)
            return lambda state: dataclasses.replace(state, wants_sizes=False).tell(problem)
        return lambda state: state.offer(clicks, sizes)

    def _save(self) -> State:
        segmentation, clicks = self.state.segmentation, self.state.clicks
        if segmentation is None or not self.state.is_answered:
            return self.state.tell("there is no mask to save yet")
        mask, overlay = (self._target.with_name(f"{self._target.name}_m2n2_{kind}.png") for kind in ("mask", "overlay"))
        try:
            write_picture(mask, segmentation.mask.astype(np.uint8) * 255)
            write_picture(overlay, draw_overlay(self._image, segmentation.mask, clicks))
        except M2N2Error as error:
            return self.state.tell(str(error))
        return self.state.tell(f"saved {mask} and {overlay.name}")
