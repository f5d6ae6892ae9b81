"""Tasks of a Label Studio project: the images that they show, and which come next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backend.errors import InvalidRequest
from backend.http.request import render_problem
from backend.images.cache import TaskImage
from backend.label_studio.client import LabelStudioClient, LabelStudioError
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payload import PredictRequest, Task, TaskPage
from backend.settings import Settings

_PAGE_TASKS = 100

_MOST_IMAGES = 20
"""Of one task that are prepared when it is opened. Here: more Image tags side by side are not seen, and an annotator
needs a while for so many."""


def find_images(task: Task, config: LabelConfig, *, every_page: bool = False) -> list[TaskImage]:
    """The images that a task shows: one for each Image tag, of several pages the first, or every one. What the task's
    data does not have is left out. Raises InvalidRequest where the configuration gets too large for the task.

    every_page: of every Image tag, and not of the first twenty alone.
    """
    images = config.for_task(task.data).images
    pages = (image.list_references(task.data) for image in (images if every_page else images[:_MOST_IMAGES]))
    shown = (reference for one in pages for reference in (one if every_page else one[:1]))
    return [TaskImage(reference, task.id) for reference in shown]


def find_key(request: PredictRequest) -> str | None:
    """What all requests about one task have in common, so that one server answers them; None for several tasks or none.

    It is the task and not the image's address, which Label Studio may sign anew for each request. So the images of a
    task stay together, with what is remembered of its page.
    """
    if len(request.tasks) != 1:
        return None
    (task,) = request.tasks
    if task.id is not None:
        return render_key(task.id)
    data = json.dumps(task.data, sort_keys=True).encode()
    return f"data {hashlib.blake2b(data, digest_size=16).hexdigest()}"


def render_key(task_id: int | None) -> str:
    """The key of a task's requests, as of `find_key`."""
    return f"task {task_id}"


def explain_no_image(task: Task, config: LabelConfig) -> str:
    """Why a task shows no image that can be used."""
    images = config.for_task(task.data).images
    try:
        for image in images:
            image.find_reference(task.data, 0)
    except InvalidRequest as error:
        return str(error)
    return "the labelling configuration has no Image for it"


def fetch_tasks(client: LabelStudioClient, project: int, after: int, count: int, *, unfinished: bool) -> TaskPage:
    """At most ``count`` tasks of a project whose numbers are above ``after``, in their order, and how many there are.

    unfinished: only tasks that are to be labelled still. Raises as `LabelStudioClient` does.
    """
    filters = [{"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}]
    if unfinished:
        filters.append({"filter": "filter:tasks:completed_at", "operator": "empty", "type": "Datetime", "value": True})
    try:
        return TaskPage.model_validate(query_tasks(client, project, count, filters, "tasks:id"))
    except ValidationError as error:
        raise LabelStudioError(f"{client.url} lists no tasks of the kind known: {render_problem(error)}") from None


def query_tasks(
    client: LabelStudioClient,
    project: int,
    count: int,
    filters: Sequence[Mapping[str, object]],
    ordering: str,
    **options: str,
) -> Any:
    """What Label Studio says of the first tasks of a project.

    Args:
        client: of Label Studio.
        project: its number.
        count: of tasks, at most.
        filters: of Label Studio's Data Manager, all of which hold.
        ordering: a column of the Data Manager, downwards with a minus before it.
        options: further parameters of ``/api/tasks``.

    Raises:
        LabelStudioError: as of `LabelStudioClient`.
    """
    query = {"filters": {"conjunction": "and", "items": list(filters)}, "ordering": [ordering]}
    return client.get(
        "/api/tasks",
        project=project,
        page_size=count,
        query=json.dumps(query),
        # References as they stand in the data, as a prediction's request has them.
        resolve_uri="false",
        # Without it Label Studio would ask its model, which is this server, for predictions of these tasks, where
        # the project says so; and to be asked for a task is to learn that it was opened.
        review="true",
        **options,
    )


def fetch_all_tasks(client: LabelStudioClient, project: int) -> Iterator[Task]:
    """Every task of a project in the order of their numbers, page by page. Raises as `fetch_tasks` does."""
    after = 0
    while page := fetch_tasks(client, project, after, _PAGE_TASKS, unfinished=False).tasks:
        yield from page
        after = max(task.id or 0 for task in page)


class NextTasks:
    """Which tasks come after an opened one, asked of the Label Studio of the settings; safe under threads."""

    def __init__(self, settings: Settings) -> None:
        self._count = settings.prepare_next
        url, key = settings.label_studio_url, settings.label_studio_api_key
        self._client = LabelStudioClient(url, key, settings.read_timeout_seconds) if url and key else None

    def find(self, request: PredictRequest) -> list[Task]:
        """The next unfinished tasks of the project by their numbers, the order in which a page labels one task after
        the other, unless the project wants another. None where no Label Studio is set. Raises as `fetch_tasks` does.
        """
        project, task = str(request.project).partition(".")[0], request.tasks[0]
        if self._client is None or not self._count or task.id is None or not project.isdecimal():
            return []
        return fetch_tasks(self._client, int(project), task.id, self._count, unfinished=True).tasks
