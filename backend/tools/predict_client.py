"""Clicks sent to a running server as Label Studio sends them, and its answers."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from typing import Any

import requests

from backend.errors import NotReady
from backend.settings import Settings
from m2n2_engine.errors import M2N2Error
from m2n2_engine.types import Click, EngineStatus, State

Size = tuple[int, int]
"""(H, W) in pixels."""

# Label Studio gives a click up after 100 s; this waits longer, to tell by how much it was missed.
_ANSWER_SECONDS = 300.0
_HEALTH_SECONDS = 10.0
_CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image"><Label value="Object"/></KeyPointLabels>
<BrushLabels name="brush" toName="image"><Label value="Object"/></BrushLabels></View>"""


class Unanswered(M2N2Error):
    """The server did not answer a click with a mask."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """rle: of the region, empty where there was none. seconds: from sending the click to the whole answer.
    prepare_seconds: those of them in which the server made the image ready, as far as it says so."""

    rle: tuple[int, ...]
    seconds: float
    prepare_seconds: float = 0.0


def make_body(image: str, size: Size, clicks: Sequence[Click], annotator: int | None = None) -> dict[str, Any]:
    """What Label Studio sends with the last of these clicks.

    image: reference that the server can fetch. size: of the image. clicks: in percent of its width and height.
    annotator: whose clicks these are, all on one object: the server gives an older one up for a newer one. None: it
    answers each.
    """
    points = [
        {
            "type": "keypointlabels",
            "id": "" if annotator is None else f"{annotator}-{number}",
            "from_name": "kp",
            "to_name": "image",
            "is_positive": click.positive,
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "value": {"x": click.x, "y": click.y, "keypointlabels": ["Object"]},
        }
        for number, click in enumerate(clicks)
    ]
    task = {"id": annotator, "data": {"image": image}}
    return {"tasks": [task], "project": "1.1", "label_config": _CONFIG, "params": {"context": {"result": points}}}


def ask(session: requests.Session, url: str, body: dict[str, Any]) -> Answer:
    """Send a click to ``<url>/predict``. Raises Unanswered."""
    started = time.perf_counter()
    try:
        response = session.post(f"{url}/predict", json=body, timeout=_ANSWER_SECONDS)
    except requests.RequestException as error:
        raise Unanswered(f"{url}/predict: {type(error).__name__}; is a server running there?") from error
    seconds = time.perf_counter() - started
    if response.status_code != 200:
        raise Unanswered(f"{url}/predict: {response.status_code} {response.text}")
    result = response.json()["results"][0]["result"]
    rle = tuple(result[0]["value"]["rle"]) if result else ()
    return Answer(rle, seconds, _read_stage(response.headers.get("Server-Timing", ""), "attention"))


def read_auth(settings: Settings) -> tuple[str, str] | None:
    """User and password that the server asks for, where it has the same settings."""
    user, password = settings.basic_auth_user, settings.basic_auth_password
    return None if user is None or password is None else (user, password.get_secret_value())


def read_health(url: str, auth: tuple[str, str] | None) -> dict[str, Any]:
    """What /health says. Raises NotReady where no server answers."""
    try:
        response = requests.get(f"{url}/health", auth=auth, timeout=_HEALTH_SECONDS)
        response.raise_for_status()
        health: dict[str, Any] = response.json()
    except requests.RequestException as error:
        if error.response is not None and error.response.status_code == requests.codes.unauthorized:
            remedy = "401; set M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD as the server has them"
        else:
            remedy = f"{type(error).__name__}; start the server there, or give another address"
        raise NotReady(f"{url}/health: {remedy}") from error
    return health


def read_status(url: str, auth: tuple[str, str] | None) -> EngineStatus:
    """The engine's status, as far as /health tells it: ready where it tells no state, without the tiers of its cache.
    Raises as ``read_health``."""
    health = read_health(url, auth)
    names = {field.name for field in dataclasses.fields(EngineStatus)} & health.keys()
    return EngineStatus(**{**{name: health[name] for name in names}, "state": State(health.get("state", State.READY))})


def _read_stage(timings: str, stage: str) -> float:
    """Seconds of a stage in a Server-Timing header; 0 where it is not in there."""
    found = re.search(rf"\b{stage};dur=([\d.]+)", timings)
    return float(found[1]) / 1000 if found else 0.0
