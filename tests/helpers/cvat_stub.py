"""As much of a CVAT server as an agent asks for: one function, its queue, and one task with one frame."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType
from typing import Any, Self

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

# The release of cvat-cli that is asked.
VERSION = "2.80.0"
FUNCTION_ID, TASK_ID = 5, 7


class CvatStub:
    """Serves on loopback inside its ``with`` block. functions: as they were created. queue: parameters of annotation
    requests to hand out. results: what became of them, in order. frames_sent: how often the frame was fetched. labels,
    shapes: of the task, in the fields of its API."""

    def __init__(self, frame_file: bytes) -> None:
        self.functions: list[dict[str, Any]] = []
        self.queue: deque[dict[str, Any]] = deque()
        self.results: list[dict[str, Any]] = []
        self.labels: list[dict[str, Any]] = []
        self.shapes: list[dict[str, Any]] = []
        self.frames_sent = 0
        self._frame_file = frame_file
        self._server = make_server("127.0.0.1", 0, self._create_app(), threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _create_app(self) -> Flask:
        app = Flask("cvat")
        about = {"name": "CVAT", "description": "", "version": VERSION, "logo_url": "", "subtitle": ""}
        frames = {"chunks_updated_date": "2026-01-01T00:00:00Z", "deleted_frames": [], "frames": [_FRAME]}
        app.add_url_rule("/api/server/about", view_func=lambda: jsonify(about), endpoint="about")
        app.add_url_rule(f"/api/tasks/{TASK_ID}", view_func=lambda: jsonify(_TASK), endpoint="task")
        app.add_url_rule(f"/api/tasks/{TASK_ID}/data/meta", view_func=lambda: jsonify(frames), endpoint="meta")
        app.add_url_rule("/api/labels", view_func=self._list_labels)
        app.add_url_rule(f"/api/tasks/{TASK_ID}/annotations/", view_func=self._list_annotations)
        app.add_url_rule(f"/api/tasks/{TASK_ID}/data/", view_func=self._send_frame)
        app.add_url_rule("/api/functions", view_func=self._create_function, methods=["POST"])
        app.add_url_rule(f"/api/functions/{FUNCTION_ID}", view_func=self._get_function)
        requests = f"/api/functions/queues/function:{FUNCTION_ID}/requests"
        app.add_url_rule(f"{requests}/acquire", view_func=self._hand_out, methods=["POST"])
        app.add_url_rule(f"{requests}/<name>/<outcome>", view_func=self._take_result, methods=["POST"])
        return app

    def _list_labels(self) -> Response:
        return jsonify(count=len(self.labels), next=None, previous=None, results=self.labels)

    def _list_annotations(self) -> Response:
        return jsonify(version=0, tags=[], tracks=[], shapes=self.shapes)

    def _send_frame(self) -> Response:
        self.frames_sent += 1
        return Response(self._frame_file, content_type="image/png")

    def _create_function(self) -> Response:
        created = request.get_json()
        # As CVAT itself fills in.
        created |= {"labels_v2": [{"type": "any", **label} for label in created.get("labels_v2", [])]}
        self.functions.append({"id": FUNCTION_ID, "startswith_box": False, **created})
        return self._get_function()

    def _get_function(self) -> Response:
        return jsonify(self.functions[-1])

    def _hand_out(self) -> Response:
        is_due = bool(self.queue) and request.get_json()["request_category"] == "interactive"
        assignment = {"ar_id": f"request-{len(self.queue)}", "ar_params": self.queue.popleft()} if is_due else None
        return jsonify(ar_assignment=assignment)

    def _take_result(self, name: str, outcome: str) -> Response:
        self.results.append({"outcome": outcome, **request.get_json()})
        return jsonify({})


_FRAME = {"name": "frame.png", "width": 160, "height": 120, "related_files": 0}
_TASK = {
    "id": TASK_ID,
    "size": 1,
    "data_chunk_size": 1,
    "data_original_chunk_type": "imageset",
    "updated_date": "2026-01-01T00:00:00Z",
    "organization": None,
    "jobs": {"count": 0, "completed": 0, "validation": 0, "url": ""},
    "labels": {"url": ""},
}
