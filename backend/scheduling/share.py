"""How much of a busy server's time goes to pictures that nobody has clicked on yet."""

from __future__ import annotations

from collections.abc import Callable

_SHARE = 0.1
"""Of the time, while clicks are under way at every moment. Here: a picture in preparation takes the processors, or the
GPU, from the clicks meanwhile, which then take up to twice as long. All clicks together take a tenth longer at most."""

_PATIENCE_SECONDS = 2.0
"""What a picture waits for a moment without clicks, even where its share has come. Here: a few annotators leave such a
moment more often than that, and then nobody is delayed at all."""


class Share:
    """When the background may go on beside clicks; not safe under threads, for one thread prepares.

    After a picture that was prepared in so many seconds it holds back for nine times as many.
    """

    def __init__(
        self, clock: Callable[[], float], share: float = _SHARE, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """clock: in seconds. share: of the time, above 0 and at most 1. patience_seconds: see the constant."""
        self._clock = clock
        self._pauses = 1 / share - 1
        self._patience_seconds = patience_seconds
        self._due = self._waited = clock()

    def begin_waiting(self) -> None:
        """Tell that a picture stands ready to be prepared from now on."""
        self._waited = self._clock() + self._patience_seconds

    @property
    def remaining_seconds(self) -> float:
        """Until it may be prepared beside clicks; 0 or less where it may be now."""
        return max(self._due, self._waited) - self._clock()

    def use(self, seconds: float) -> None:
        """Tell of a picture that was prepared just now, in so many seconds."""
        self._due = self._clock() + seconds * self._pauses
