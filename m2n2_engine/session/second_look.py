"""A second look: an object that is small for the grid is answered from a crop of the image, prepared on its own.

The window comes from the box, from the mask to start from, or from what the first positive click finds in the whole
image. After a click alone both looks are compared, and the better supported one answers. The clicks that follow correct
the mask of the crop. From the first one that reaches beyond the crop on, clicks correct that mask in the whole image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import numpy as np

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.method.shapes import find_extent
from m2n2_engine.prompt import Prompt, StartMask, list_points
from m2n2_engine.session.session import Session
from m2n2_engine.session.window import Window, frame_object, frame_point, join_extents
from m2n2_engine.types import Click, Image, Mask, Stroke

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
        found = self._turn(lambda: self._look(prompt, ask))
        if not isinstance(found, Window):
            return found
        with self._open_part(found) as part:
            return self._turn(lambda: self._look_again(part, found, prompt, ask))

    def _look(self, prompt: Prompt, ask: Ask) -> list[Found] | Window:
        """What the whole image answers, or where to look again."""
        return self._choose_window(prompt) or ask(self._whole, prompt)

    def _look_again(self, part: View, window: Window, prompt: Prompt, ask: Ask) -> list[Found]:
        """What a part answers, or the whole image where that is the better look."""
        if self._prefers(part, window, prompt):
            return self._ask_part(part, window, prompt, ask)
        return ask(self._whole, prompt)

    def _choose_window(self, prompt: Prompt) -> Window | None:
        """Where to look again; None where the whole image shows the object well enough."""
        size, method = self._size, self._method
        if method.decision is Decision.JOINT or not method.zoom_largest:
            return None
        if prompt.box is not None:
            return frame_object(prompt.box, size, method)
        extent = None if prompt.start is None else find_extent(prompt.start.pixels, size)
        if extent is not None:
            return frame_object(join_extents(extent, prompt.clicks[:1]), size, method)
        if not any(click.positive for click in prompt.clicks):
            return None
        first = _find_first(prompt)
        impression = self._whole.session.inspect(first)
        if impression.extent is None:
            return None
        window = frame_object(join_extents(impression.extent, first.clicks[-1:]), size, method)
        if window is None and impression.centring < method.zoom_doubt:
            window = frame_point(list_points(first.clicks[-1])[0], size, method)
        return window if window is not None and window.holds(first.clicks[-1], size) else None

    def _prefers(self, part: View, window: Window, prompt: Prompt) -> bool:
        """Whether the part answers: after a click alone the better supported look does."""
        if prompt.box is not None or (prompt.start is not None and prompt.start.pixels.any()):
            return True
        first = _find_first(prompt)
        inside = dataclasses.replace(first, clicks=self._keep_inside(first, window))
        seen = part.session.inspect(window.move(inside))
        return seen.support >= self._whole.session.inspect(first).support

    def _ask_part(self, part: View, window: Window, prompt: Prompt, ask: Ask) -> list[Found]:
        """The answer of a part, and of the whole image from the first click on that reaches beyond it."""
        count = self._count_within(prompt, window)
        kept = dataclasses.replace(prompt, clicks=prompt.clicks[:count])
        inside = self._keep_inside(kept, window)
        is_last = count == len(prompt.clicks)
        # A click that the part does not see changes nothing, so there is nothing to offer either.
        sees_last = is_last and inside[-1:] == prompt.clicks[-1:]
        found = (ask if sees_last else View.segment)(part, window.move(dataclasses.replace(kept, clicks=inside)))
        base = np.zeros(self._size, bool) if prompt.start is None else prompt.start.pixels
        masks = [(window.paste(mask, base), score) for mask, score in found]
        if is_last:
            return masks
        rest = Prompt(prompt.clicks[count:], None, StartMask.of(masks[0][0]), (*prompt.settled, *prompt.clicks[:count]))
        return ask(self._whole, rest)

    def _count_within(self, prompt: Prompt, window: Window) -> int:
        """How many of the clicks come before the first one that changes something beyond the window."""
        if prompt.box is not None:
            return len(prompt.clicks)  # what lies outside of the box is in no mask
        for count, click in enumerate(prompt.clicks):
            if not window.holds(click, self._size) and (click.positive or prompt.start is not None):
                return count
        return len(prompt.clicks)

    def _keep_inside(self, prompt: Prompt, window: Window) -> tuple[Click | Stroke, ...]:
        return tuple(click for click in prompt.clicks if window.holds(click, self._size))


def _find_first(prompt: Prompt) -> Prompt:
    """The prompt up to its first positive click; there is one."""
    count = next(index for index, click in enumerate(prompt.clicks, start=1) if click.positive)
    return dataclasses.replace(prompt, clicks=prompt.clicks[:count])
