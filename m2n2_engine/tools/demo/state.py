"""What the demo knows, and how that changes. Every change gives a new state; nothing here computes or draws."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

from m2n2_engine.types import Click, Mask, Segmentation, Stroke

Clicks = tuple[Click | Stroke, ...]


class Action(enum.Enum):
    """What a person can ask for."""

    FOREGROUND = enum.auto()
    BACKGROUND = enum.auto()
    DRAW_FOREGROUND = enum.auto()
    DRAW_BACKGROUND = enum.auto()
    DRAW_ON = enum.auto()
    DRAW_END = enum.auto()
    NEXT_SIZE = enum.auto()
    UNDO = enum.auto()
    RESET = enum.auto()
    SAVE = enum.auto()
    CLOSE = enum.auto()


ACTIONS = {
    "i": Action.FOREGROUND,
    "left button": Action.DRAW_FOREGROUND,
    "o": Action.BACKGROUND,
    "right button": Action.DRAW_BACKGROUND,
    "drag": Action.DRAW_ON,
    "release": Action.DRAW_END,
    "n": Action.NEXT_SIZE,
    "u": Action.UNDO,
    "backspace": Action.UNDO,
    "r": Action.RESET,
    "s": Action.SAVE,
    "escape": Action.CLOSE,
    "closed": Action.CLOSE,
}
"""Name of a key, a mouse button, or what happened to the window -> what it stands for."""

HELP = (
    "I or left button: object",
    "O or right button: background",
    "drag: a stroke",
    "N: next size",
    "U: undo",
    "R: reset",
    "S: save",
    "Esc: close",
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class State:
    """clicks: and strokes, in the order they were made, pixels of the full-size image. prepare_seconds: what the image
    took; None while it is prepared. answered: the clicks that ``segmentation`` belongs to, or that failed. notice:
    shown instead of the status until the next change. drawn: the stroke under the mouse, not asked for yet. sizes: that
    the newest click may mean; none until they are asked for. wants_sizes: whether they are. chosen: sizes that were
    taken, each with the number of clicks by then; later clicks correct the last one."""

    clicks: Clicks = ()
    prepare_seconds: float | None = None
    answered: Clicks = ()
    segmentation: Segmentation | None = None
    notice: str = ""
    drawn: Stroke | None = None
    sizes: tuple[Segmentation, ...] = ()
    wants_sizes: bool = False
    chosen: tuple[tuple[int, Mask], ...] = ()

    @property
    def is_answered(self) -> bool:
        """Whether the segmentation, if any, is that of the present clicks."""
        return self.clicks == self.answered

    @property
    def status(self) -> str:
        """One line: what is going on, or what came of the clicks and how long it took."""
        if self.notice:
            return self.notice
        if self.prepare_seconds is None:
            return f"preparing the image; {_count(self.clicks)} waiting" if self.clicks else "preparing the image"
        prepared = f"prepared in {self.prepare_seconds:.2f} s"
        if not self.clicks:
            return f"{prepared}; click on the object"
        if not self.is_answered or self.segmentation is None:
            return f"computing {_count(self.clicks)}"
        if not any(click.positive for click in self.clicks):
            return f"{_count(self.clicks)}, none on the object"
        seconds = self.segmentation.timings.clicks_seconds
        share = self.segmentation.mask.mean()
        return f"{_count(self.clicks)}: {share:.1%} of the image in {seconds:.3f} s; {prepared}"

    def add(self, click: Click | Stroke) -> State:
        """One more click; what is shown stays until it is answered."""
        return dataclasses.replace(self, clicks=(*self.clicks, click), notice="", sizes=(), wants_sizes=False)

    def draw(self, point: tuple[float, float], positive: bool) -> State:
        """A stroke begins, or a click: what the mouse does next decides."""
        return dataclasses.replace(self.stop_drawing(), drawn=Stroke((point,), positive))

    def draw_on(self, point: tuple[float, float]) -> State:
        """The stroke goes on to this point, if there is one."""
        if self.drawn is None:
            return self
        return dataclasses.replace(self, drawn=Stroke((*self.drawn.points, point), self.drawn.positive))

    def stop_drawing(self) -> State:
        """The stroke is asked for; one of a single point is a click."""
        if self.drawn is None:
            return self
        points, positive = self.drawn.points, self.drawn.positive
        drawn = self.drawn if len(points) > 1 else Click(*points[0], positive)
        return dataclasses.replace(self, drawn=None).add(drawn)

    def undo(self) -> State:
        """Without the newest click, or without the stroke that is being drawn."""
        if self.drawn is not None:
            return dataclasses.replace(self, drawn=None)
        if len(self.clicks) > 1:
            clicks = self.clicks[:-1]
            chosen = tuple(each for each in self.chosen if each[0] <= len(clicks))
            return dataclasses.replace(self, clicks=clicks, notice="", sizes=(), wants_sizes=False, chosen=chosen)
        return self.reset()

    def find_start(self, most_clicks: int) -> Mask | None:
        """The size that was taken last with so many clicks at most: what is asked now starts from it."""
        return next((mask for count, mask in reversed(self.chosen) if count <= most_clicks), None)

    def ask_for_sizes(self) -> State:
        """The next size is wanted; where the sizes are known, it is shown."""
        if self.sizes:
            return self.take_next_size()
        if self.segmentation is None or not self.is_answered:
            return self.tell("there is no mask of another size yet")
        return dataclasses.replace(self, wants_sizes=True, notice="")

    def offer(self, clicks: Clicks, sizes: tuple[Segmentation, ...]) -> State:
        """The sizes that the last of these clicks may mean; dropped where there are others by now."""
        if clicks != self.clicks:
            return self
        return dataclasses.replace(self, sizes=sizes, wants_sizes=False).take_next_size()

    def take_next_size(self) -> State:
        """The one after the mask that is shown, and after the largest the smallest."""
        assert self.segmentation is not None
        if len(self.sizes) == 1:
            return self.tell("there is no other size")
        shown = [np.array_equal(each.mask, self.segmentation.mask) for each in self.sizes]
        place = (shown.index(True) + 1 if any(shown) else 0) % len(self.sizes)
        taken, count = self.sizes[place], len(self.clicks)
        chosen = (*(each for each in self.chosen if each[0] < count), (count, taken.mask))
        notice = f"size {place + 1} of {len(self.sizes)}: {taken.mask.mean():.1%} of the image"
        return dataclasses.replace(self, segmentation=taken, chosen=chosen, notice=notice)

    def reset(self) -> State:
        """Without clicks; the image stays prepared."""
        return State(prepare_seconds=self.prepare_seconds)

    def prepare(self, seconds: float) -> State:
        """The image is prepared."""
        return dataclasses.replace(self, prepare_seconds=seconds, notice="")

    def answer(self, clicks: Clicks, segmentation: Segmentation) -> State:
        """The mask of these clicks; dropped where there are others by now."""
        if clicks != self.clicks:
            return self
        # An image that could not be prepared before was prepared by these clicks.
        prepare_seconds = self.prepare_seconds
        if prepare_seconds is None:
            prepare_seconds = segmentation.timings.prepare_seconds
        return State(clicks, prepare_seconds, clicks, segmentation, drawn=self.drawn, chosen=self.chosen)

    def fail(self, clicks: Clicks, problem: str) -> State:
        """These clicks have no answer, and are not asked again; dropped where there are others by now."""
        if clicks != self.clicks:
            return self
        return State(clicks, self.prepare_seconds, clicks, notice=problem, drawn=self.drawn, chosen=self.chosen)

    def tell(self, notice: str) -> State:
        """The same, with something to read."""
        return dataclasses.replace(self, notice=notice)


def _count(clicks: Clicks) -> str:
    return f"{len(clicks)} click{'' if len(clicks) == 1 else 's'}"
