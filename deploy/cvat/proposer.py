"""A detector for CVAT that proposes masks by what is annotated already: automatic annotation beside the interactor.

    cvat-cli function create-native "M2N2 proposals" --function-file proposer.py -p labels=str:cat,dog
    cvat-cli function run-agent ID --function-file proposer.py -p labels=str:cat,dog \\
        -p cvat=str:https://app.cvat.ai -p task=int:12 -p url=str:http://localhost:9090

CVAT gives a detector one frame and nothing of its task. So the examples are those of the task that is named here, which
are fetched with CVAT_ACCESS_TOKEN; any task with the same labels may be annotated by them, that one too. Community CVAT
has no agents, but takes the same file: cvat-cli task auto-annotate ID --function-file proposer.py -p ...

It needs cvat-cli 2.71 or newer and nothing else. Where the server asks for credentials, they are in
M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD here as there.
"""

from __future__ import annotations

import base64
import collections
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

import cvat_sdk
import cvat_sdk.auto_annotation as cvataa
import PIL.Image
import PIL.ImageDraw
from cvat_sdk.masks import encode_mask

_TIMEOUT_SECONDS = 110.0
"""The server answers within 90 s that it has too much to do."""

_FRESH_SECONDS = 60.0
"""Age at which the annotations are looked at again."""

_MOST_FRAMES = 24
"""The server takes no more examples."""

_USUAL_THRESHOLD = 0.5
"""Confidence from which masks are given where CVAT names none: its page hides what is below."""

_PNG_MODES = frozenset({"1", "I;16", "L", "LA", "P", "RGB", "RGBA"})


class Examples:
    """The annotated frames of one task, as the server takes them.

    cvat: address of CVAT. task: its number. labels: by which objects are examples. frames: newest annotated frames that
    are examples of a label.
    """

    def __init__(self, cvat: str, task: int, labels: Iterable[str], frames: int) -> None:
        self._cvat, self._task, self._labels, self._frames = cvat, task, frozenset(labels), frames
        self._found: list[dict[str, Any]] = []
        self._files: dict[int, bytes] = {}
        self._looked_at = float("-inf")

    def find(self) -> list[dict[str, Any]]:
        """Those of now. Raises BadFunctionError where there are none."""
        if time.monotonic() - self._looked_at >= _FRESH_SECONDS:
            with cvat_sdk.make_client(self._cvat, access_token=os.environ.get("CVAT_ACCESS_TOKEN")) as client:
                self._found = self._look(client.tasks.retrieve(self._task))
            self._looked_at = time.monotonic()
        if not self._found:
            raise cvataa.BadFunctionError(
                f"task {self._task} has no masks or polygons with the labels {', '.join(sorted(self._labels))}: "
                "annotate some frames of it first"
            )
        return self._found

    def _look(self, task: Any) -> list[dict[str, Any]]:
        names = {label.id: label.name for label in task.get_labels() if label.name in self._labels}
        shapes = collections.defaultdict(list)
        for shape in task.get_annotations().shapes:
            if shape.label_id in names and str(shape.type) in ("mask", "polygon"):
                shapes[shape.frame].append(shape)
        chosen = _choose_frames(
            {frame: {one.label_id for one in found} for frame, found in shapes.items()}, self._frames
        )
        self._files = {frame: self._files.get(frame) or task.get_frame(frame).read() for frame in chosen}
        return [self._describe(frame, shapes[frame], names) for frame in chosen]

    def _describe(self, frame: int, shapes: Iterable[Any], names: Mapping[int, str]) -> dict[str, Any]:
        file = self._files[frame]
        size = PIL.Image.open(io.BytesIO(file)).size
        masks = [{"label": names[shape.label_id], "points": _read_mask(shape, size)} for shape in shapes]
        return {"image": base64.b64encode(file).decode(), "masks": masks}


class Proposer:
    """What CVAT's driver calls. url: of the server. timeout_seconds: longest wait for its answer."""

    def __init__(self, url: str, labels: Iterable[str], examples: Examples, timeout_seconds: float) -> None:
        self._url = f"{url.rstrip('/')}/cvat/propose"
        self._ids = {name: number for number, name in enumerate(labels, 1)}
        self._examples = examples
        self._timeout_seconds = timeout_seconds

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        """The labels that were named."""
        return cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec(name, n) for name, n in self._ids.items()])

    def detect(self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image) -> list[Any]:
        """The proposals for a frame; raises BadFunctionError, whose message CVAT shows."""
        polygons = bool(context.conv_mask_to_poly)
        least = _USUAL_THRESHOLD if context.conf_threshold is None else context.conf_threshold
        body = {"image": _encode_file(image), "examples": self._examples.find(), "polygons": polygons}
        make = cvataa.polygon if polygons else cvataa.mask
        shapes = [shape for shape in self._ask(body)["shapes"] if shape["confidence"] >= least]
        return [make(self._ids[shape["label"]], shape["points"]) for shape in shapes]

    def _ask(self, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(self._url, json.dumps(body).encode(), _make_headers())
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            # The status line has the server's message.
            raise cvataa.BadFunctionError(f"the M2N2 server refuses: {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise cvataa.BadFunctionError(f"the M2N2 server gives no answer: {error}") from error


def create(
    labels: str,
    task: int = 0,
    url: str = "http://localhost:9090",
    cvat: str = "https://app.cvat.ai",
    frames: int = 3,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Proposer:
    """The function that CVAT's driver loads from this file.

    Args:
        labels: Names separated by commas; ``-p labels=str:cat,dog`` on the command line.
        task: Number of the task whose annotations are examples.
        url: The server's address.
        cvat: CVAT's address.
        frames: Annotated frames that are examples of a label, those with the highest numbers.
        timeout_seconds: Longest wait for the server's answer.
    """
    names = [name.strip() for name in labels.split(",") if name.strip()]
    return Proposer(url, names, Examples(cvat, task, names, frames), timeout_seconds)


def _choose_frames(labels: Mapping[int, set[int]], count: int) -> list[int]:
    """Frames with so many for each label, the last ones first. labels: of each annotated frame."""
    chosen: list[int] = []
    counts: collections.Counter[int] = collections.Counter()
    for frame in sorted(labels, reverse=True):
        if len(chosen) < _MOST_FRAMES and any(counts[label] < count for label in labels[frame]):
            chosen.append(frame)
            counts.update(labels[frame])
    return chosen


def _read_mask(shape: Any, size: tuple[int, int]) -> list[int]:
    """A shape's run lengths, those of a polygon drawn in a frame of (width, height)."""
    points = shape.points
    if str(shape.type) == "polygon":
        drawn = PIL.Image.new("1", size)
        PIL.ImageDraw.Draw(drawn).polygon(points, fill=1)
        points = encode_mask(drawn)
    return [int(value) for value in points]


def _encode_file(image: PIL.Image.Image) -> str:
    file = io.BytesIO()
    kept = image if image.mode in _PNG_MODES else image.convert("RGB")
    kept.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _make_headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    user, password = os.environ.get("M2N2_BASIC_AUTH_USER"), os.environ.get("M2N2_BASIC_AUTH_PASSWORD")
    if user and password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return headers
