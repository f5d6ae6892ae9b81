"""Bodies of Label Studio's requests (1.23), as far as they are used.

Lists are looked at up to the first part that is wrong (``fail_fast``): a million wrong ones would hold others up.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from backend.http.request import Payload

PREDICT = "predict"
"""The event of the newer protocol that a request without one is of."""

PROPOSAL_PREFIX = "proposal-"
"""Of the ids of regions that this server proposes. The page keeps ids, also where a click corrects a region."""

_PROMPT_TYPES = ("keypointlabels", "rectanglelabels")


class StudioPayload(Payload):
    """Base of these bodies and of their parts: null is what is not there, as scripts and other versions write it."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


class SetupRequest(StudioPayload):
    """Body of /setup. It is sent on every page load and carries a token: the configuration and the project's
    number are looked at."""

    project: Any = None
    label_config: str | None = Field(None, alias="schema")


class DraftRegion(StudioPayload):
    """A region as it was autosaved; the only place where the sign of a restored key point survives, and the only one
    that shows the masks of the annotator who clicks."""

    id: str = ""
    type: str = ""
    from_name: str = ""
    to_name: str = ""
    item_index: int | None = None
    is_positive: bool | None = None
    value: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_proposal(self) -> bool:
        """Whether it was proposed by this server, left as it was or changed."""
        return self.id.startswith(PROPOSAL_PREFIX)


class Draft(StudioPayload):
    """Regions of an annotation that is not submitted yet, of any kind; those we can use are `DraftRegion`. id,
    updated_at: they change where another draft is saved."""

    id: Any = None
    updated_at: Any = None
    result: list[Any] = Field(default_factory=list)


class Task(StudioPayload):
    """A task, of which only the image and what is drawn on it matter. Interactive requests carry one. annotations: what
    is submitted, predictions: what models said, of any form."""

    id: int | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    drafts: tuple[Draft, ...] = Field((), fail_fast=True)
    annotations: Any = None
    predictions: Any = None


class LabelledValue(StudioPayload):
    """What a region holds besides its place. labels: those that were selected when it was made, at least one."""

    labels: list[str]


class Region(StudioPayload):
    """A region of the context. Sizes are those of the upright image, in pixels, rotation is in degrees; item_index
    counts the pages of an image that has several, from 0. from_name: the control that it was made with."""

    result_type: ClassVar[str]

    to_name: str
    from_name: str = ""
    id: str = ""
    item_index: NonNegativeInt | None = None
    original_width: PositiveInt | None = None
    original_height: PositiveInt | None = None
    image_rotation: float = 0
    value: LabelledValue


class KeyPointValue(LabelledValue):
    """Place of a key point in percent of the image's width and height."""

    x: FiniteFloat
    y: FiniteFloat
    labels: list[str] = Field(min_length=1, alias="keypointlabels", fail_fast=True)


class KeyPoint(Region):
    """A click. is_positive: whether the point belongs to the object; it does where nothing says otherwise."""

    result_type = "keypointlabels"

    value: KeyPointValue
    is_positive: bool | None = None


class RectangleValue(LabelledValue):
    """A rectangle in percent of the image's width and height, turned by degrees."""

    x: FiniteFloat
    y: FiniteFloat
    width: FiniteFloat
    height: FiniteFloat
    rotation: FiniteFloat = 0
    labels: list[str] = Field(min_length=1, alias="rectanglelabels", fail_fast=True)


class Rectangle(Region):
    """A box around an object."""

    result_type = "rectanglelabels"

    value: RectangleValue


class Context(StudioPayload):
    """Every region of the type, label and image that was clicked last. Label Studio never sends points and boxes
    together; others may. event, from_name, to_name: of its newer protocol alone, see `events`."""

    event: str | None = None
    from_name: str = ""
    to_name: str = ""
    result: list[dict[str, Any]] = Field(default_factory=list, fail_fast=True)

    @property
    def named_event(self) -> str | None:
        """The event of the newer protocol; None where it is a request of the page of 1.23, which knows no events."""
        if self.event is not None:
            return self.event
        return PREDICT if self.result and all(map(_is_bare, self.result)) else None

    @model_validator(mode="after")
    def _need_result(self) -> Self:
        if self.event is None and "result" not in self.model_fields_set:
            raise PydanticCustomError("missing", "result: Field required")
        return self


def _is_bare(item: dict[str, Any]) -> bool:
    """Whether it is a click or a box without an image and labels, as only the newer protocol has them."""
    value = item.get("value")
    if item.get("type") not in _PROMPT_TYPES or not isinstance(value, dict):
        return False
    return not item.get("to_name") and not any(name in value for name in ("labels", *_PROMPT_TYPES))


class Params(StudioPayload):
    """What came with the request: a context if a person clicked, none for batch predictions."""

    context: Context | None = None


class PredictRequest(StudioPayload):
    """Body of /predict. tasks: may be left out with an event alone."""

    tasks: list[Task] = Field(default_factory=list, fail_fast=True)
    project: int | str | None = None
    label_config: str = ""
    params: Params = Params()

    @model_validator(mode="after")
    def _need_tasks(self) -> Self:
        is_event = self.params.context is not None and self.params.context.event is not None
        if not is_event and "tasks" not in self.model_fields_set:
            raise PydanticCustomError("missing", "tasks: Field required")
        return self


class TaskPage(StudioPayload):
    """Answer to the question for a project's tasks. total: of all that fit, not only those of this page."""

    tasks: list[Task]
    total: NonNegativeInt
