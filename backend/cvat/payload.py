"""Bodies of CVAT's requests for a mask, as far as they are used, and of our own agent's for proposals."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeInt

from backend.http.request import MOST_CLICKS, Payload
from backend.scheduling.placing import place_box
from backend.settings import CvatAnswer
from m2n2_engine.types import Box, Click

Point = tuple[FiniteFloat, FiniteFloat]
"""(x, y) in pixels of the frame."""


MOST_EXAMPLE_FRAMES = 24
"""Of one request for proposals. Here: as many as the server takes of Label Studio."""

MOST_EXAMPLE_MASKS = 200
"""Of one frame. Here: nobody draws more in one image."""

MOST_MASK_RUNS = 1_000_000
"""Run lengths of one mask. Here: a ragged one of 12 megapixels."""


def _check_corners(corners: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(corners) not in (0, 2):
        raise ValueError("should be [] or two corners [[x1, y1], [x2, y2]]")
    return corners


class InvocationRequest(Payload):
    """The frame and all that was set for one object in it; CVAT names no task and no user. image: the file in base64.
    obj_bbox: two opposite corners of a box around the object, in any order. answer: not CVAT's; what our own agent
    wants whatever M2N2_CVAT_ANSWER says."""

    image: str
    pos_points: tuple[Point, ...] = Field((), max_length=MOST_CLICKS, fail_fast=True)
    neg_points: tuple[Point, ...] = Field((), max_length=MOST_CLICKS, fail_fast=True)
    obj_bbox: Annotated[tuple[Point, ...], Field(fail_fast=True), AfterValidator(_check_corners)] | None = None
    answer: CvatAnswer | None = None

    @property
    def clicks(self) -> list[Click]:
        """The positive points, then the negative ones."""
        return [Click(x, y, True) for x, y in self.pos_points] + [Click(x, y, False) for x, y in self.neg_points]

    def box(self, size: tuple[int, int]) -> Box | None:
        """The box in a frame of this ``(H, W)``, what sticks out cut off; None where there is none or no area."""
        if not self.obj_bbox:
            return None
        (left, top), (right, bottom) = self.obj_bbox
        box = place_box((left, right), (top, bottom), size)
        return box if box.left < box.right and box.top < box.bottom else None


class ExampleMask(Payload):
    """An object that was annotated. points: the mask as `answer.encode_points` gives it."""

    label: str = Field(min_length=1)
    points: tuple[NonNegativeInt, ...] = Field(min_length=5, max_length=MOST_MASK_RUNS, fail_fast=True)


class ExampleFrame(Payload):
    """An annotated frame. image: the file in base64. masks: all objects of their labels in it."""

    image: str
    masks: tuple[ExampleMask, ...] = Field(min_length=1, max_length=MOST_EXAMPLE_MASKS, fail_fast=True)


class ProposeRequest(Payload):
    """What our own agent asks for a frame. image: the file in base64. polygons: whether outlines are wanted in place of
    masks."""

    image: str
    examples: tuple[ExampleFrame, ...] = Field(min_length=1, max_length=MOST_EXAMPLE_FRAMES, fail_fast=True)
    polygons: bool = False
