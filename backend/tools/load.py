"""Many annotators at once against a server: what they send, and how long each answer takes."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import io
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image as PillowImage

from backend.tools.predict_client import Answer, Size, Unanswered, ask, make_body
from m2n2_engine.types import Click, Image

_HEALTH_SECONDS = 10.0
_HEALTH_PAUSE_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Load:
    """answers: one list an annotator. wall_seconds: of all together. health_seconds: of each /health meanwhile."""

    answers: list[list[Answer]]
    wall_seconds: float
    health_seconds: list[float]

    @property
    def click_seconds(self) -> list[float]:
        """Of each answer."""
        return [answer.seconds for answers in self.answers for answer in answers]

    @property
    def first_seconds(self) -> list[float]:
        """Of each annotator's first answer; all of them ask at once."""
        return [answers[0].seconds for answers in self.answers]

    @property
    def later_seconds(self) -> list[float]:
        """Of all other answers."""
        return [answer.seconds for answers in self.answers for answer in answers[1:]]


@dataclasses.dataclass(frozen=True)
class Work:
    """What annotators do. images: references that the server can fetch, taken in turn by the annotators; ``size``:
    of each. clicks: of each annotator's object. auth: user and password."""

    images: Sequence[str]
    size: Size
    clicks: int
    auth: tuple[str, str] | None = None


def draw_image(number: int, size: Size) -> Image:
    """Soft blobs, others for each number; RGB uint8 ``(H, W, 3)``."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rng = np.random.default_rng(number)
    pixels = np.full((height, width, 3), rng.integers(0, 256, 3), np.float32)
    for _ in range(8):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(width / 16, width / 4)
        inside = np.clip(radius - np.hypot(x - cx, y - cy), 0, 1)[..., None]
        pixels += inside * (rng.integers(0, 256, 3) - pixels)
    pixels += rng.normal(0, 4, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def draw_files(folder: Path, count: int, size: Size) -> list[str]:
    """Images in the folder that a server reads local files from; their references."""
    for number in range(count):
        PillowImage.fromarray(draw_image(number, size)).save(folder / f"{number}.png")
    return [f"/data/local-files/?d={number}.png" for number in range(count)]


def draw_uris(count: int, size: Size, first: int = 0) -> list[str]:
    """Images that any server can read: the references are the files themselves. first: the number of the first one."""
    uris = []
    for number in range(first, first + count):
        file = io.BytesIO()
        PillowImage.fromarray(draw_image(number, size)).save(file, "JPEG", quality=90)
        uris.append(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
    return uris


def draw_body(annotator: int, clicks: int, size: Size, image: str) -> dict[str, Any]:
    """What Label Studio sends with an annotator's click of that number, counted from 1: all of them until then."""
    places = np.random.default_rng(1000 + annotator).uniform(2, 98, (clicks, 2)).tolist()
    drawn = [Click(x, y, positive=number % 3 != 2) for number, (x, y) in enumerate(places)]
    return make_body(image, size, drawn, annotator)


def refine(url: str, annotator: int, work: Work) -> list[Answer]:
    """All clicks of one annotator, each after the answer to the one before. Raises Unanswered."""
    image = work.images[annotator % len(work.images)]
    with requests.Session() as session:
        session.auth = work.auth
        return [
            ask(session, url, draw_body(annotator, number, work.size, image)) for number in range(1, work.clicks + 1)
        ]


def run_load(url: str, annotators: int, work: Work, at_once: int | None = None) -> Load:
    """All annotators, at most ``at_once`` of them at the same time, and /health all the while. Raises Unanswered."""
    over = threading.Event()
    with (
        concurrent.futures.ThreadPoolExecutor(1) as watch,
        concurrent.futures.ThreadPoolExecutor(at_once or annotators) as pool,
    ):
        health = watch.submit(_watch_health, url, work.auth, over)
        started = time.perf_counter()
        try:
            futures = [pool.submit(refine, url, annotator, work) for annotator in range(annotators)]
            answers = [future.result() for future in futures]
        finally:
            over.set()
        return Load(answers, time.perf_counter() - started, health.result())


def _watch_health(url: str, auth: tuple[str, str] | None, over: threading.Event) -> list[float]:
    seconds = []
    while True:
        started = time.perf_counter()
        # A connection of its own each time, as Label Studio does.
        try:
            requests.get(f"{url}/health", auth=auth, timeout=_HEALTH_SECONDS).raise_for_status()
        except requests.RequestException as error:
            raise Unanswered(f"{url}/health: {type(error).__name__}") from error
        seconds.append(time.perf_counter() - started)
        if over.wait(_HEALTH_PAUSE_SECONDS):
            return seconds
