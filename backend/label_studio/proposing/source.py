"""Asks Label Studio (1.23) what was annotated: the newest tasks of a project, and what was accepted in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backend.http.request import render_problem
from backend.label_studio.client import LabelStudioClient, LabelStudioError
from backend.label_studio.payload import StudioPayload, Task
from backend.label_studio.proposing.accepted import Annotation
from backend.label_studio.tasks import query_tasks

_Filter = dict[str, object]


class AnnotatedTask(Task):
    """A task that has an annotation. updated_at, annotations_ids: they change where an annotation does."""

    updated_at: str = ""
    annotations_ids: Any = None

    @property
    def stamp(self) -> tuple[int | None, str, str]:
        """Equal while nothing of it was annotated anew."""
        return self.id, self.updated_at, str(self.annotations_ids)


class _Page(StudioPayload):
    tasks: list[AnnotatedTask]


_ANNOTATIONS = TypeAdapter(list[Annotation])


class AnnotationSource:
    """The annotations of one Label Studio. Every method raises as `LabelStudioClient` does."""

    def __init__(self, client: LabelStudioClient) -> None:
        self._client = client

    def list_newest(self, project: int, count: int) -> list[AnnotatedTask]:
        """At most so many annotated tasks of a project, those that were finished last first."""
        return self._list(project, count, [], "-tasks:completed_at")

    def find_before(self, project: int, task: int) -> AnnotatedTask | None:
        """The nearest annotated task before another one, by their numbers."""
        earlier = {"filter": "filter:tasks:id", "operator": "less", "type": "Number", "value": task}
        return next(iter(self._list(project, 1, [earlier], "-tasks:id")), None)

    def fetch_accepted(self, task: int) -> Annotation | None:
        """The annotation of a task that was changed last, skipped ones left out; None where there is none."""
        try:
            found = _ANNOTATIONS.validate_python(self._client.get(f"/api/tasks/{task}/annotations/"))
        except ValidationError as error:
            raise self._explain(error) from None
        accepted = [annotation for annotation in found if not annotation.was_cancelled]
        return max(accepted, key=lambda annotation: annotation.updated_at, default=None)

    def _list(self, project: int, count: int, filters: Sequence[_Filter], ordering: str) -> list[AnnotatedTask]:
        annotated = {"filter": "filter:tasks:total_annotations", "operator": "greater", "type": "Number", "value": 0}
        columns = "id,data,updated_at,annotations_ids"
        answer = query_tasks(self._client, project, count, [annotated, *filters], ordering, include=columns)
        try:
            return _Page.model_validate(answer).tasks
        except ValidationError as error:
            raise self._explain(error) from None

    def _explain(self, error: ValidationError) -> LabelStudioError:
        return LabelStudioError(f"{self._client.url} tells annotations in a form not known: {render_problem(error)}")
