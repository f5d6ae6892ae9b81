"""The context of Label Studio's newer interactive protocol, that of its video backend, as far as it is used.

Every event is a `/predict` with ``params.context.event``; without one it is ``predict``. Its items differ from those of
the page of 1.23: the sign of a click is ``value.positive``, and there are no labels and no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, FiniteFloat, ValidationError

from backend.errors import InvalidRequest
from backend.http.request import MOST_CLICKS, render_problem
from backend.label_studio.payload import Context, StudioPayload
from m2n2_engine.types import Click

_POINT, _BOX = "keypointlabels", "rectanglelabels"


class PointValue(StudioPayload):
    """Place of a click in percent of the image's width and height. positive: whether it belongs to the object; it does
    where nothing says otherwise."""

    x: FiniteFloat
    y: FiniteFloat
    positive: bool = True


class BoxValue(StudioPayload):
    """A box in percent of the image's width and height."""

    x: FiniteFloat
    y: FiniteFloat
    width: FiniteFloat
    height: FiniteFloat


class _Item(StudioPayload):
    from_name: str = ""
    to_name: str = ""


class PointItem(_Item):
    """A click."""

    type: Literal["keypointlabels"]
    value: PointValue


class BoxItem(_Item):
    """A box around an object."""

    type: Literal["rectanglelabels"]
    value: BoxValue


class Prompts(StudioPayload):
    """What a predict event asks. Other kinds of items are left out before."""

    points: tuple[PointItem, ...] = Field((), max_length=MOST_CLICKS, fail_fast=True)
    boxes: tuple[BoxItem, ...] = Field((), fail_fast=True)

    @property
    def names_object(self) -> bool:
        """Whether there is a positive click or a box."""
        return bool(self.boxes) or any(point.value.positive for point in self.points)

    def clicks(self, size: tuple[int, int]) -> list[Click]:
        """The clicks in pixels of an image of this ``(H, W)``."""
        height, width = size
        values = [point.value for point in self.points]
        return [Click(value.x / 100 * width, value.y / 100 * height, value.positive) for value in values]


def parse_prompts(context: Context) -> Prompts:
    """The clicks and boxes of a predict event, in its order. Raises InvalidRequest."""
    kinds = {"points": _POINT, "boxes": _BOX}
    items = {name: [item for item in context.result if item.get("type") == kind] for name, kind in kinds.items()}
    try:
        return Prompts.model_validate(items)
    except ValidationError as error:
        raise InvalidRequest(f"an item of the context cannot be used: {render_problem(error)}") from None


def find_name(context: Context, name: Literal["from_name", "to_name"]) -> str:
    """The newest one in the items, else that of the context; empty where there is none."""
    given: Sequence[Any] = [item.get(name) for item in reversed(context.result)] + [getattr(context, name)]
    return next((one for one in given if isinstance(one, str) and one), "")
