"""Which files of the product a click crosses: ``python -m tests.helpers.click_trace [--verbose]``.

A click of Label Studio's on a picture in the request itself is answered by the whole application in this process, with
the tiny network, the preset of the embedded network and an empty cache. Counted are the files whose functions are
called on the request's own thread, for the first click on a new image and for the second one, which takes a part of the
mask away. Compiled kernels count as the files that call them.
"""

from __future__ import annotations

import argparse
import base64
import collections
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np

from backend.app import create_app
from backend.engines.background import BackgroundEngine
from backend.engines.load import choose_load
from backend.settings import load_settings
from m2n2_engine.presets import CONSENSUS
from m2n2_engine.types import Deadline

from .paths import ROOT

PACKAGES = tuple(f"{ROOT / name}/" for name in ("backend", "m2n2_engine"))
LOAD_SECONDS = 300.0
SIZE = (480, 640)
LABEL_CONFIG = """<View><Image name="image" value="$image"/>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
  <BrushLabels name="brush" toName="image"><Label value="Object"/></BrushLabels></View>"""
FIRST_CLICK = [(45.0, 50.0, True)]
SECOND_CLICK = [*FIRST_CLICK, (60.0, 60.0, False)]

Crossed = Mapping[str, Sequence[str]]
"""File, from the repository's root -> names of its functions that were called."""


def trace_clicks(backbone: str = "tiny") -> tuple[Crossed, Crossed]:
    """What the first click on a new image crosses, and the second one."""
    environ = {"M2N2_BACKBONE": backbone, "M2N2_DEVICE": "cpu", "M2N2_PRESET": CONSENSUS}
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({**environ, "M2N2_DISK_CACHE_FOLDER": folder})
        engine = BackgroundEngine(choose_load(settings))
        engine.wait(Deadline.after(LOAD_SECONDS))
        client = create_app(settings, engine).test_client()
        return _trace(client, FIRST_CLICK), _trace(client, SECOND_CLICK)


def _trace(client: Any, points: Sequence[tuple[float, float, bool]]) -> Crossed:
    crossed: dict[str, set[str]] = collections.defaultdict(set)
    own = threading.get_ident()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGES) and threading.get_ident() == own:
            crossed[str(Path(code.co_filename).relative_to(ROOT))].add(code.co_qualname)

    body = _render_request(points)
    sys.setprofile(note)
    try:
        answer = client.post("/predict", json=body)
    finally:
        sys.setprofile(None)
    assert answer.status_code == 200, answer.text
    assert answer.json["results"][0]["result"], "no mask"
    return {name: sorted(functions) for name, functions in sorted(crossed.items())}


def _render_request(points: Sequence[tuple[float, float, bool]]) -> Mapping[str, Any]:
    """Of Label Studio's page. points: x and y in percent, and whether they lie on the object."""
    pixels = np.full((*SIZE, 3), (40, 90, 60), np.uint8)
    cv2.rectangle(pixels, (200, 150), (440, 330), (60, 60, 220), thickness=-1)
    pixels += np.random.default_rng(0).integers(0, 20, pixels.shape, np.uint8)
    file = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    regions = [
        {
            "id": f"point-{number}",
            "type": "keypointlabels",
            "from_name": "point",
            "to_name": "image",
            "is_positive": is_positive,
            "original_width": pixels.shape[1],
            "original_height": pixels.shape[0],
            "value": {"x": x, "y": y, "width": 0.3, "keypointlabels": ["Object"]},
        }
        for number, (x, y, is_positive) in enumerate(points)
    ]
    return {
        "tasks": [{"id": 1, "data": {"image": f"data:image/png;base64,{file}"}}],
        "label_config": LABEL_CONFIG,
        "params": {"context": {"result": regions}},
    }


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="name the files and the functions that are called")
    parser.add_argument("--backbone", default="tiny")
    arguments = parser.parse_args()
    names = ("a click on a new image", "the second click")
    for name, crossed in zip(names, trace_clicks(arguments.backbone), strict=True):
        tell(f"{name}: {len(crossed)} files, {sum(map(len, crossed.values()))} functions")
        for file, functions in crossed.items() if arguments.verbose else ():
            tell(f"  {file}: {', '.join(functions)}")


if __name__ == "__main__":
    main()
