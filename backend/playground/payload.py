"""Bodies of the page's requests, and the masks in them and in the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, FiniteFloat

from backend.http.request import MOST_CLICKS, Payload
from m2n2_engine.errors import InvalidMask
from m2n2_engine.types import Box, Click, Mask, Stroke

MOST_STROKE_POINTS = 200
"""Of one stroke. Here: the page draws with fewer, and the engine samples 32 of them."""

MOST_RUNS = 1_000_000
"""Of one mask. Here: a noisy mask of a 12-megapixel photograph has a third of them."""

LONGEST_OBJECT_NAME = 64
"""Of the page's name for an object, in characters. Here: the page makes names of ten."""

Point = tuple[FiniteFloat, FiniteFloat]
"""(x, y) in pixels of the image."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Mark(Payload):
    """A click, which is one point, or a stroke through several. positive: it belongs to the object."""

    points: tuple[Point, ...] = Field(min_length=1, max_length=MOST_STROKE_POINTS, fail_fast=True)
    positive: bool

    def click(self) -> Click | Stroke:
        """The same for the engine."""
        if len(self.points) == 1:
            return Click(*self.points[0], self.positive)
        return Stroke(self.points, self.positive)


class PrepareRequest(Payload):
    """An image that will be clicked on soon. image: its digest."""

    image: Digest


class SegmentRequest(Payload):
    """One object in an image. image: the digest that the upload gave. object: the page's name for it; a newer request
    of the same object overtakes this one. box: left, top, right, bottom. start: the mask that is corrected, as run
    lengths. sizes: whether all sizes are wanted that the last mark may mean."""

    image: Digest
    object: str = Field(max_length=LONGEST_OBJECT_NAME)
    marks: tuple[Mark, ...] = Field((), max_length=MOST_CLICKS, fail_fast=True)
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    start: tuple[int, ...] | None = Field(None, max_length=MOST_RUNS, fail_fast=True)
    sizes: bool = False

    def clicks(self) -> list[Click | Stroke]:
        """The marks for the engine, in their order."""
        return [mark.click() for mark in self.marks]

    def find_box(self) -> Box | None:
        """The box for the engine."""
        return None if self.box is None else Box(*self.box)


def write_runs(mask: Mask) -> list[int]:
    """The lengths of the runs of a bool (H, W) mask, row by row, beginning with pixels that are not set, which may be
    none."""
    pixels = mask.ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    runs: list[int] = np.diff(changes, prepend=0, append=pixels.size).tolist()
    return runs


def read_runs(runs: Sequence[int], size: tuple[int, int]) -> Mask:
    """The bool (H, W) mask of run lengths as `write_runs` gives them. Raises InvalidMask where they are none of an
    image of this size."""
    height, width = size
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise InvalidMask(
            f"the run lengths of the mask to start from should be positive and add up to {width} x {height} pixels"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size)
