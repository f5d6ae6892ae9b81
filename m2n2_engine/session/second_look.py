"""A second look: an object that is small for the grid is answered from a crop of the image, prepared on its own.

The window comes from the box, from the mask to start from, or from what the first positive click finds in the whole
image. After a click alone both looks are compared, and the better supported one answers. The clicks that follow correct
the mask of the crop. From the first one that reaches beyond the crop on, clicks correct that mask in the whole image,
until a crop is large enough again for the mask and the next click.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import numpy as np

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.method.shapes import find_extent
from m2n2_engine.prompt import Prompt, StartMask, list_points
from m2n2_engine.session.session import Session
from m2n2_engine.session.spot import find_spot
from m2n2_engine.session.window import Window, frame_object, frame_point, join_extents
from m2n2_engine.types import Box, Click, Image, Mask, Stroke

ResultT = TypeVar("ResultT")

Found = tuple[Mask, float]
"""A mask bool ``(H, W)`` and its score, 0 to 1."""


class Turn(Protocol):
    """Calls work in its caller's turn, and gives what it gives."""

    def __call__(self, work: Callable[[], ResultT]) -> ResultT:
        """Raises what the work raises, and what waiting for the turn does."""


@dataclasses.dataclass(frozen=True)
class View:
    """What answers prompts on an image, or on a part of one. image: RGB uint8 ``(H, W, 3)``."""

    image: Image
    session: Session

    def segment(self, prompt: Prompt) -> list[Found]:
        """The one mask of a prompt."""
        return [self.session.segment(self.image, prompt)]

    def offer(self, prompt: Prompt) -> list[Found]:
        """The masks that its last click may mean."""
        return self.session.offer(self.image, prompt)


Ask = Callable[[View, Prompt], list[Found]]
"""``View.segment`` or ``View.offer``."""


@dataclasses.dataclass(frozen=True)
class _Leg:
    """Clicks that one view answers until another one sees better.

    window: of the view; None is the whole image. prompt: what is left, in pixels of the picture. looked: whether it was
    decided already that the next click is this view's.
    """

    window: Window | None
    prompt: Prompt
    looked: bool = False


class SecondLook:
    """Answers prompts on one picture, from a part of it where that pays. The answer depends on the prompt alone."""

    def __init__(
        self,
        whole: View,
        method: MethodConfig,
        open_part: Callable[[Window], AbstractContextManager[View]],
        turn: Turn,
    ) -> None:
        """open_part: makes a part of the picture ready. turn: what is computed, but for that, is computed in it."""
        self._whole = whole
        self._size = whole.image.shape[0], whole.image.shape[1]
        self._method = method
        self._open_part = open_part
        self._turn = turn

    def answer(self, prompt: Prompt, ask: Ask) -> list[Found]:
        """What ``ask`` gives of a prompt, in pixels of the picture."""
        leg: _Leg | list[Found] = _Leg(None, prompt, looked=not self._looks_again)
        while isinstance(leg, _Leg):
            leg = self._go(leg, ask)
        return leg

    @property
    def _looks_again(self) -> bool:
        return self._method.decision is Decision.CONSENSUS and self._method.zoom_largest > 0

    def _go(self, leg: _Leg, ask: Ask) -> _Leg | list[Found]:
        """The answer of a leg's view, or the leg after it."""
        window = leg.window
        if window is None:
            return self._turn(lambda: self._ask_whole(leg, ask))
        with self._open_part(window) as part:
            return self._turn(lambda: self._ask_part(part, window, leg, ask))

    def _ask_whole(self, leg: _Leg, ask: Ask) -> _Leg | list[Found]:
        prompt = leg.prompt
        window = None if leg.looked else self._find_window(prompt)
        if window is not None:
            return _Leg(window, prompt, looked=prompt.box is not None or prompt.start is not None)
        if self._looks_again and prompt.box is None:
            for count in range(1, len(prompt.clicks)):
                done = dataclasses.replace(prompt, clicks=prompt.clicks[:count])
                window = self._frame(self._whole.session.inspect(done).extent, prompt.clicks[count])
                if window is not None and not self._cuts(window, (*done.settled, *done.clicks)):
                    ((mask, _),) = self._whole.segment(done)
                    return _Leg(window, _go_on(prompt, count, mask), looked=True)
        return ask(self._whole, prompt)

    def _find_window(self, prompt: Prompt) -> Window | None:
        """Where to look again before anything is answered; None where the whole image shows it well enough."""
        if prompt.box is not None:
            return frame_object(prompt.box, self._size, self._method)
        if prompt.start is not None and prompt.start.pixels.any():
            if not prompt.clicks:
                return None  # the mask stays as it is: there is nothing to see better
            return self._frame(find_extent(prompt.start.pixels, self._size), prompt.clicks[0])
        if not any(click.positive for click in prompt.clicks):
            return None
        first = _find_first(prompt)
        click = first.clicks[-1]
        seen = self._whole.session.inspect(first)
        window = self._frame(self._find_spot(click) or seen.extent, click)
        if window is None and seen.centring < self._method.zoom_doubt:
            window = frame_point(list_points(click)[0], self._size, self._method)
        return window if window is not None and self._count_within(first, window) == len(first.clicks) else None

    def _find_spot(self, click: Click | Stroke) -> Box | None:
        """The box around the spot under a click; None where a stroke leaves it."""
        height, width = self._size
        x, y = (int(min(at, size - 1)) for at, size in zip(list_points(click)[0], (width, height), strict=True))
        rows, columns = self._whole.session.grid
        spot = find_spot(self._whole.image, (x, y), max(height / rows, width / columns))
        return spot if spot is None or join_extents(spot, [click]) == spot else None

    def _frame(self, extent: Box | None, *clicks: Click | Stroke) -> Window | None:
        """The window of a mask's extent and clicks beside it; None without a mask."""
        return None if extent is None else frame_object(join_extents(extent, clicks), self._size, self._method)

    def _ask_part(self, part: View, window: Window, leg: _Leg, ask: Ask) -> _Leg | list[Found]:
        prompt = leg.prompt
        if not leg.looked and not self._prefers(part, window, prompt):
            return _Leg(None, prompt, looked=True)
        count = self._count_within(prompt, window)
        done = dataclasses.replace(prompt, clicks=prompt.clicks[:count])
        inside = self._keep_inside(done, window)
        is_last = count == len(prompt.clicks)
        # A click that the part does not see changes nothing, so there is nothing to offer either.
        offers = is_last and all(window.holds(click, self._size) for click in prompt.clicks[-1:])
        found = (ask if offers else View.segment)(part, window.move(inside))
        # What lies outside of a box is in no mask.
        base = np.zeros(self._size, bool) if prompt.start is None or prompt.box is not None else prompt.start.pixels
        masks = [(window.paste(mask, base), score) for mask, score in found]
        if is_last:
            return masks
        return _Leg(None, _go_on(prompt, count, masks[0][0]), looked=True)

    def _prefers(self, part: View, window: Window, prompt: Prompt) -> bool:
        """Whether the part answers a first click: it is better supported there, and what it finds ends in the part."""
        first = _find_first(prompt)
        if self._find_spot(first.clicks[-1]) is not None:
            return True
        seen = part.session.inspect(window.move(self._keep_inside(first, window)))
        return (
            seen.support >= self._whole.session.inspect(first).support
            and seen.extent is not None
            and window.encloses(seen.extent, self._size)
        )

    def _count_within(self, prompt: Prompt, window: Window) -> int:
        """How many of the clicks come before the first one that changes something beyond the window."""
        for count, click in enumerate(prompt.clicks):
            # Nothing can change outside of a box, nor can a negative click take away what is not there.
            matters = prompt.box is None and (click.positive or prompt.start is not None)
            if self._cuts(window, [click]) or (matters and not window.holds(click, self._size)):
                return count
        return len(prompt.clicks)

    def _cuts(self, window: Window, clicks: Iterable[Click | Stroke]) -> bool:
        """Whether some of these lie partly in a window: a part of the image would see only a part of them."""
        return any(window.cuts(click, self._size) for click in clicks)

    def _keep_inside(self, prompt: Prompt, window: Window) -> Prompt:
        """The prompt with those of its clicks alone that the window holds."""
        clicks, settled = (
            tuple(click for click in these if window.holds(click, self._size))
            for these in (prompt.clicks, prompt.settled)
        )
        return dataclasses.replace(prompt, clicks=clicks, settled=settled)


def _find_first(prompt: Prompt) -> Prompt:
    """The prompt up to its first positive click; there is one."""
    count = next(index for index, click in enumerate(prompt.clicks, start=1) if click.positive)
    return dataclasses.replace(prompt, clicks=prompt.clicks[:count])


def _go_on(prompt: Prompt, count: int, mask: Mask) -> Prompt:
    """What is left of a prompt whose first clicks gave a mask ``(H, W)``. count: of them."""
    return Prompt(prompt.clicks[count:], prompt.box, StartMask.of(mask), (*prompt.settled, *prompt.clicks[:count]))
