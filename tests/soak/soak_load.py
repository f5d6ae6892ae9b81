"""Many annotators at once against a real server: is every answer the one that is computed alone, and how long does it
take?

    python tests/soak/soak_load.py --annotators 16 --clicks 20

Each annotator refines one object on an image of its own, click by click. Then a fresh server, which has seen none of
it, is asked the same one after another. Prints the figures; ends with status 1 where an answer differs or /health was
slow.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image as PillowImage
from soak_server import Server

from backend.brush_rle import decode

LEAST_IOU = 0.999
MOST_HEALTH_SECONDS = 0.5

Size = tuple[int, int]
"""(H, W) in pixels."""

# Label Studio gives a click up after the first; this tool waits longer, to tell by how much it was missed.
_MOST_CLICK_SECONDS = 100.0
_ANSWER_SECONDS = 300.0
_HEALTH_PAUSE_SECONDS = 0.05
_CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image"><Label value="Object"/></KeyPointLabels>
<BrushLabels name="brush" toName="image"><Label value="Object"/></BrushLabels></View>"""


@dataclasses.dataclass(frozen=True)
class Answer:
    """rle: of the region, empty where there was none. seconds: from sending the click to the whole answer."""

    rle: tuple[int, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Load:
    """answers: one list an annotator. wall_seconds: of all together. health_seconds: of each /health meanwhile."""

    answers: list[list[Answer]]
    wall_seconds: float
    health_seconds: list[float]


def draw_images(folder: Path, count: int, size: Size) -> None:
    """As many different images of soft blobs, in the folder that the server reads local files from."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = np.full((height, width, 3), rng.integers(0, 256, 3), np.float32)
        for _ in range(8):
            cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(width / 16, width / 4)
            inside = np.clip(radius - np.hypot(x - cx, y - cy), 0, 1)[..., None]
            pixels += inside * (rng.integers(0, 256, 3) - pixels)
        pixels += rng.normal(0, 4, pixels.shape)
        PillowImage.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")


def make_body(annotator: int, clicks: int, size: Size) -> dict[str, Any]:
    """What Label Studio sends with an annotator's click of that number, counted from 1: all of them until then."""
    rng = np.random.default_rng(1000 + annotator)
    points = [
        {
            "type": "keypointlabels",
            "id": f"{annotator}-{number}",
            "from_name": "kp",
            "to_name": "image",
            "is_positive": number % 3 != 2,
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "value": {"x": x, "y": y, "keypointlabels": ["Object"]},
        }
        for number, (x, y) in enumerate(rng.uniform(2, 98, (clicks, 2)).tolist())
    ]
    task = {"id": annotator, "data": {"image": f"/data/local-files/?d={annotator}.png"}}
    return {"tasks": [task], "project": "1.1", "label_config": _CONFIG, "params": {"context": {"result": points}}}


def ask(session: requests.Session, url: str, annotator: int, clicks: int, size: Size) -> Answer:
    """One click. Raises where the server does not answer 200."""
    started = time.perf_counter()
    response = session.post(f"{url}/predict", json=make_body(annotator, clicks, size), timeout=_ANSWER_SECONDS)
    seconds = time.perf_counter() - started
    if response.status_code != 200:
        raise RuntimeError(f"annotator {annotator}, click {clicks}: {response.status_code} {response.text}")
    result = response.json()["results"][0]["result"]
    return Answer(tuple(result[0]["value"]["rle"]) if result else (), seconds)


def refine(url: str, annotator: int, clicks: int, size: Size) -> list[Answer]:
    """All clicks of one annotator, each after the answer to the one before."""
    with requests.Session() as session:
        return [ask(session, url, annotator, number, size) for number in range(1, clicks + 1)]


def run_load(url: str, annotators: int, clicks: int, size: Size) -> Load:
    """All annotators at once, and /health all the while."""
    over = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(annotators + 1) as pool:
        health = pool.submit(_watch_health, url, over)
        started = time.perf_counter()
        try:
            futures = [pool.submit(refine, url, annotator, clicks, size) for annotator in range(annotators)]
            answers = [future.result() for future in futures]
        finally:
            over.set()
        return Load(answers, time.perf_counter() - started, health.result())


def _watch_health(url: str, over: threading.Event) -> list[float]:
    seconds = []
    while True:
        started = time.perf_counter()
        # A connection of its own each time, as Label Studio does.
        requests.get(f"{url}/health", timeout=10).raise_for_status()
        seconds.append(time.perf_counter() - started)
        if over.wait(_HEALTH_PAUSE_SECONDS):
            return seconds


def find_differences(together: Sequence[Sequence[Answer]], alone: Sequence[Sequence[Answer]], size: Size) -> list[str]:
    """A line for each answer whose mask is not the one computed alone."""
    differences = []
    for annotator, (some, others) in enumerate(zip(together, alone, strict=True)):
        for number, (one, other) in enumerate(zip(some, others, strict=True), start=1):
            iou = intersection_over_union(one, other, size)
            if iou < LEAST_IOU:
                differences.append(f"annotator {annotator}, click {number}: IoU {iou:.4f}")
    return differences


def intersection_over_union(one: Answer, other: Answer, size: Size) -> float:
    """Of the masks; 1 where both are empty."""
    if one.rle == other.rle:
        return 1.0
    if not (one.rle and other.rle):
        return 0.0
    first, second = (decode(list(answer.rle), size) for answer in (one, other))
    return float((first & second).sum() / (first | second).sum())


def render_report(load: Load) -> str:
    """The figures, one line each."""
    seconds = [answer.seconds for answers in load.answers for answer in answers]
    health = load.health_seconds
    return "\n".join(
        (
            f"{len(load.answers)} annotators x {len(load.answers[0])} clicks: {len(seconds)} answers in "
            f"{load.wall_seconds:.1f} s, {len(seconds) / load.wall_seconds:.2f} clicks/s",
            f"a click: median {statistics.median(seconds):.3f} s, p95 {np.percentile(seconds, 95):.3f} s, "
            f"longest {max(seconds):.3f} s",
            f"/health meanwhile: {len(health)} times, median {statistics.median(health):.3f} s, "
            f"longest {max(health):.3f} s",
        )
    )


def compare(environ: dict[str, str], folder: Path, annotators: int, clicks: int, size: Size) -> tuple[Load, list[str]]:
    """The load on one server, and what differs from a fresh one that is asked one click after another."""
    images = folder / "images"
    images.mkdir()
    draw_images(images, annotators, size)
    own = {"M2N2_LOCAL_FILES_ROOT": str(images), "M2N2_DISK_CACHE_FOLDER": str(folder / "attention")}
    environ = {**environ, **own}
    with Server(environ, folder / "together.log") as server:
        load = run_load(server.url, annotators, clicks, size)
    with Server({**environ, "M2N2_DISK_CACHE_MIB": "0"}, folder / "alone.log") as server:
        alone = [refine(server.url, annotator, clicks, size) for annotator in range(annotators)]
    problems = find_differences(load.answers, alone, size)
    if max(load.health_seconds) >= MOST_HEALTH_SECONDS:
        problems.append(f"/health took {max(load.health_seconds):.3f} s")
    slow = sum(answer.seconds >= _MOST_CLICK_SECONDS for answers in load.answers for answer in answers)
    if slow:
        problems.append(f"{slow} answers took more than the {_MOST_CLICK_SECONDS:g} s that Label Studio waits")
    if len({answers[0].rle for answers in load.answers}) < annotators:
        problems.append("two images have the same mask: this load would not notice a mix-up")
    return load, problems


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--size", default="640x480", help="of the images, in pixels")
    parser.add_argument("--setting", action="append", default=[], metavar="M2N2_NAME=value")
    arguments = parser.parse_args()
    environ = dict(setting.split("=", 1) for setting in arguments.setting)
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        load, problems = compare(environ, Path(folder), arguments.annotators, arguments.clicks, (height, width))
    sys.stdout.write(
        f"{arguments.size} pixels, {json.dumps(environ)}, {os.cpu_count()} processors\n{render_report(load)}\n"
    )
    sys.stdout.write("\n".join(problems) + "\n" if problems else "every answer is the one computed alone\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
