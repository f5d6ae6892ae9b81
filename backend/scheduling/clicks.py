"""A click's way through the engine: in line to have its image prepared, then in line to be computed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from backend.http import timings
from backend.scheduling.queue import ClickQueue, Ticket
from m2n2_engine.types import Box, Click, Image, Level, Segmentation, Segmenter


class QueuedSegmenter:
    """What every desk asks for its masks; notes the stages ``wait``, ``attention`` and ``clicks`` of the current
    request. Both methods raise what the queue and the segmenter raise."""

    def __init__(self, segmenter: Segmenter, queue: ClickQueue) -> None:
        self._segmenter = segmenter
        self._queue = queue

    def prepare(self, ticket: Ticket, image: Image) -> None:
        """Prepare the ticket's image in its turn, unless something is kept of it."""
        with contextlib.ExitStack() as lane:
            with timings.measure("wait"):
                # From memory or disk an image is back soon: it need not stand behind others in the network's line.
                if self._segmenter.find_level(image) is not Level.NETWORK:
                    return
                is_needed = lane.enter_context(self._queue.preparation(ticket))
            if is_needed:
                with timings.measure("attention"):
                    self._segmenter.prepare(image)

    def segment(self, ticket: Ticket, image: Image, clicks: Sequence[Click], box: Box | None) -> Segmentation:
        """The mask, computed in the ticket's turn."""
        with contextlib.ExitStack() as turn:
            with timings.measure("wait"):
                turn.enter_context(self._queue.turn(ticket))
            segmentation = self._segmenter.segment(image, clicks, box)
        timings.record("attention", segmentation.timings.prepare_seconds)
        timings.record("clicks", segmentation.timings.clicks_seconds)
        return segmentation
