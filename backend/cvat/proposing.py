"""Proposals for a frame of CVAT's by frames that were annotated, which our own agent sends along.

CVAT itself has no place for this: nothing of a task reaches a function but one frame.
"""

from __future__ import annotations

from backend.cvat.answer import decode_points
from backend.cvat.payload import ExampleFrame, ProposeRequest
from backend.errors import InvalidRequest
from backend.http.request import RequestRecord
from backend.images.cache import TaskImage
from backend.scheduling.clicks import ClickService, Ticket
from m2n2_engine.image_file.orientation import Orientation
from m2n2_engine.types import Example, Mask, Picture, Proposal

_MOST_EXAMPLE_PIXELS = 64_000_000
"""Of all example frames of a request together. Here: five of 12 megapixels, as of Label Studio."""


def find_proposals(clicks: ClickService, asked: ProposeRequest, record: RequestRecord) -> tuple[Proposal, ...]:
    """What in a frame is like the objects of the examples, the surest first. Clicks go first.

    Raises InvalidRequest for a mask that does not fit its frame and for too many pixels, and as `ClickService` does.
    """
    record.is_batch = True
    ticket = Ticket(None, record)
    picture = clicks.fetch(_name_frame(asked.image), ticket)
    examples: list[Example] = []
    used_pixels = 0
    for frame in asked.examples:
        shown = clicks.fetch(_name_frame(frame.image), ticket)
        used_pixels += shown.size[0] * shown.size[1]
        if used_pixels > _MOST_EXAMPLE_PIXELS:
            raise InvalidRequest("the examples are more than 64 megapixels together: send fewer")
        examples += _read_examples(frame, shown)
    clicks.queue.wait_until_idle(lambda: record.deadline.remaining_seconds)
    return clicks.propose(picture, examples, ticket)


def _read_examples(frame: ExampleFrame, picture: Picture) -> list[Example]:
    """One example for each label of a frame, with all of its objects."""
    unions: dict[str, Mask] = {}
    for one in frame.masks:
        mask = decode_points(one.points, picture.size)
        unions[one.label] = unions[one.label] | mask if one.label in unions else mask
    return [Example(picture, mask, label) for label, mask in unions.items() if mask.any()]


def _name_frame(image: str) -> TaskImage:
    return TaskImage(f"data:;base64,{image}", orientation=Orientation.FILE)
