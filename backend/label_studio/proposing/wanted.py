"""Which image of a task gets proposals, and where they go."""

from __future__ import annotations

import dataclasses

from backend.errors import InvalidRequest
from backend.images.cache import TaskImage
from backend.label_studio.answer import Place
from backend.label_studio.label_config import ANSWER_TAGS, Control, LabelConfig, parse_label_config
from backend.label_studio.payload import PredictRequest, Task
from backend.label_studio.proposing.ready import TaskKey


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """An image that gets proposals: the first of its task that masks can be drawn on. config: as it stands for the
    task. label_config: its text."""

    key: TaskKey
    image: TaskImage
    to_name: str
    item_index: int | None
    config: LabelConfig
    label_config: str

    def find_controls(self, label: str) -> tuple[Control, ...]:
        """The tags that a mask with this label can go to, one of a kind."""
        found = (self.config.find_answer_control(tag, self.to_name, label) for tag in ANSWER_TAGS)
        return tuple(control for control in found if control is not None)

    def find_place(self, label: str) -> Place:
        """Where a mask with this label belongs."""
        return Place(self.to_name, (label,), self.item_index)


def read_project(request: PredictRequest) -> int | None:
    """The number of a request's project, which comes as ``7.1795341775``; None where it has none."""
    number = str(request.project).partition(".")[0]
    return int(number) if number.isdecimal() else None


def find_wanted(request: PredictRequest, task: Task) -> Wanted | None:
    """What gets proposals in a task; None where nothing does: it shows no image that masks can go to, somebody has
    annotated it already, or nothing names it. Raises InvalidRequest where the labelling configuration is none."""
    project = read_project(request)
    if project is None or task.id is None or task.annotations:
        return None
    config = parse_label_config(request.label_config).for_task(task.data)
    controls = config.find_controls(ANSWER_TAGS)
    for tag in config.images:
        references = tag.list_references(task.data)
        if references and any(tag.name in control.to_names for control in controls):
            image = TaskImage(references[0], task.id)
            key = TaskKey(project, task.id, hash((image.reference, request.label_config)))
            page = 0 if tag.is_list else None
            return Wanted(key, image, tag.name, page, config, request.label_config)
    return None


def list_wanted(request: PredictRequest) -> list[Wanted | None]:
    """That of each task of a request, in its order; None for all where the labelling configuration is none."""
    try:
        return [find_wanted(request, task) for task in request.tasks]
    except InvalidRequest:
        return [None for _ in request.tasks]
