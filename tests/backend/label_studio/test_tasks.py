"""Which images a task shows, and the tasks of a project, page by page."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from backend.images.fetcher import TaskImage
from backend.label_studio.client import LabelStudioClient
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payload import Task
from backend.label_studio.tasks import fetch_all_tasks, find_images

CONFIG = parse_label_config(
    '<View><Image name="a" value="$left"/><Image name="b" valueList="$pages"/><Image name="c" value="$right"/></View>'
)


@pytest.mark.parametrize(
    ("data", "every_page", "references"),
    [
        ({"left": "1.png", "pages": ["2.png", "3.png"], "right": "4.png"}, False, ["1.png", "2.png", "4.png"]),
        ({"left": "1.png", "pages": ["2.png", "3.png"], "right": "4.png"}, True, ["1.png", "2.png", "3.png", "4.png"]),
        ({"left": "1.png", "pages": []}, True, ["1.png"]),
        ({"left": 5, "pages": "2.png", "right": ""}, True, ["2.png"]),
        ({"left": ["1.png"], "pages": [None, "3.png"]}, True, ["1.png", "3.png"]),
        ({"left": {"url": "1.png"}, "pages": [" 2.png\n", " "]}, True, ["2.png"]),
    ],
)
def test_the_images_of_a_task(data, every_page, references):
    found = find_images(Task(id=7, data=data), CONFIG, every_page=every_page)
    assert found == [TaskImage(reference, 7) for reference in references]


def test_all_tasks_of_a_project_come_page_by_page():
    pages = {0: [{"id": 3, "data": {}}, {"id": 8, "data": {}}], 8: [{"id": 9, "data": {}}], 9: []}
    asked = []

    class Paged(LabelStudioClient):
        def get(self, path, **params):
            (only,) = json.loads(params["query"])["filters"]["items"]
            asked.append((path, params["project"], only["filter"], only["operator"]))
            return {"tasks": pages[only["value"]], "total": 3}

    client = Paged("http://ls", SecretStr("x"))
    assert [task.id for task in fetch_all_tasks(client, 5)] == [3, 8, 9]
    assert asked == [("/api/tasks", 5, "filter:tasks:id", "greater")] * 3


def test_being_asked_for_tasks_label_studio_asks_no_model(server):
    server.answer("/", b"")
    client = LabelStudioClient(server.url, SecretStr("x"))
    with pytest.raises(Exception, match="404"):
        next(fetch_all_tasks(client, 5))
    (query,) = (parse_qs(urlsplit(path).query) for _, path, *_ in server.seen)
    assert (query["review"], query["resolve_uri"]) == (["true"], ["false"])


def test_a_repeater_shows_its_images_once_for_each_item():
    config = parse_label_config(
        '<View><Repeater on="$pages"><Image name="p_{{idx}}" value="$pages[{{idx}}].url"/></Repeater></View>'
    )
    tasks = [Task(id=7, data={"pages": [{"url": f"{n}.png"} for n in range(count)]}) for count in (2, 0, 30)]
    found = [find_images(task, config) for task in tasks]
    assert found[0] == [TaskImage("0.png", 7), TaskImage("1.png", 7)]
    assert [len(images) for images in found] == [2, 0, 20], "so many are prepared when a task is opened"
    assert len(find_images(tasks[2], config, every_page=True)) == 30
