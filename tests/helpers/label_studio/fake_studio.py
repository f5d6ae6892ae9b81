"""A Label Studio on loopback, as far as proposals ask it: its tasks, their annotations, their images."""

from __future__ import annotations

import http.server
import json
import re
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from backend.label_studio.brush_rle import encode
from m2n2_engine.types import Mask

TOKEN = "0123456789abcdef0123456789abcdef01234567"
_ANNOTATIONS = re.compile(r"/api/tasks/(\d+)/annotations/")


def brush_region(mask: Mask, label: str = "Cat", **more: Any) -> dict[str, Any]:
    """A region as Label Studio has it saved. more: fields of it that are other."""
    value = {"format": "rle", "rle": encode(mask), "brushlabels": [label]}
    sizes = {"original_width": mask.shape[1], "original_height": mask.shape[0], "image_rotation": 0}
    place = {"id": "r1", "from_name": "brush", "to_name": "image", "type": "brushlabels", "origin": "manual"}
    return {**sizes, **place, "value": value, **more}


def square(left: int = 100, top: int = 100, side: int = 80, shape: tuple[int, int] = (480, 640)) -> Mask:
    """A square object."""
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


class FakeStudio:
    """Its state may be changed between requests.

    tasks: by their numbers, each with ``data``, ``annotations`` as its API gives them, and when it was ``completed``.
    asked: paths that were asked for, without their queries. status: of every answer but images.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.images: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self._clock = 0
        studio = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                studio.asked.append(parts.path)
                assert studio.gate.wait(20)
                body, status = studio._answer(parts.path, parse_qs(parts.query), self.headers.get("Authorization"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def add_task(self, number: int, image: bytes) -> None:
        """A task with an image of its own."""
        path = f"/data/upload/1/{number}.png"
        self.images[path] = image
        self.tasks[number] = {"id": number, "data": {"image": path}, "annotations": [], "completed": 0}

    def annotate(self, number: int, *regions: dict[str, Any], **more: Any) -> None:
        """Submit an annotation of a task. more: fields of it."""
        self._clock += 1
        task = self.tasks[number]
        stamp = f"2026-11-28T10:{self._clock // 60:02}:{self._clock % 60:02}Z"
        identifier = 1000 + self._clock
        one = {"id": identifier, "updated_at": stamp, "was_cancelled": False, "result": list(regions)}
        task["annotations"].append({**one, **more})
        task["completed"] = self._clock

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return self.asked.count(path)

    def close(self) -> None:
        """End it."""
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, path: str, query: dict[str, list[str]], authorization: str | None) -> tuple[bytes, int]:
        if path in self.images:
            return self.images[path], 200
        if authorization != f"Token {TOKEN}" or self.status != 200:
            return b'{"detail": "no"}', 401 if self.status == 200 else self.status
        found = _ANNOTATIONS.fullmatch(path)
        if found:
            return json.dumps(self.tasks[int(found[1])]["annotations"]).encode(), 200
        if path == "/api/tasks":
            return json.dumps(self._list(query)).encode(), 200
        return b'{"detail": "not found"}', 404

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        asked = json.loads(query["query"][0])
        assert query["review"] == ["true"], "it would ask its model for predictions of these"
        tasks = list(self.tasks.values())
        for item in asked["filters"]["items"]:
            tasks = [task for task in tasks if _fits(task, item)]
        key, sign = {
            "-tasks:completed_at": ("completed", -1),
            "-tasks:id": ("id", -1),
            "tasks:id": ("id", 1),
        }[asked["ordering"][0]]
        tasks = sorted(tasks, key=lambda task: sign * task[key])[: int(query["page_size"][0])]
        return {"total": len(tasks), "tasks": [_render(task) for task in tasks]}


def _fits(task: dict[str, Any], item: dict[str, Any]) -> bool:
    match item["filter"], item["operator"]:
        case "filter:tasks:total_annotations", "greater":
            return len(task["annotations"]) > item["value"]
        case "filter:tasks:id", "less":
            return task["id"] < item["value"]
        case "filter:tasks:id", "greater":
            return task["id"] > item["value"]
        case "filter:tasks:completed_at", "empty":
            return not task["annotations"]
    raise AssertionError(item)


def _render(task: dict[str, Any]) -> dict[str, Any]:
    ids = ",".join(str(one["id"]) for one in task["annotations"])
    newest = max((one["updated_at"] for one in task["annotations"]), default="2026-11-28T09:00:00Z")
    return {"id": task["id"], "data": task["data"], "updated_at": newest, "annotations_ids": ids}
