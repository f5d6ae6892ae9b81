"""Requests as Label Studio's page sends them, and what they are answered with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from flask.testing import FlaskClient

from backend.label_studio.brush_rle import decode

SIZE = (480, 640)
"""(H, W) of the image of the recorded requests."""


def points_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions of a request's context, to be changed in place."""
    regions: list[dict[str, Any]] = body["params"]["context"]["result"]
    return regions


def ask(client: FlaskClient, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request that is not refused."""
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.json
    answer: dict[str, Any] = response.json
    return answer


def masks_of(answer: dict[str, Any]) -> list[npt.NDArray[np.bool_]]:
    """The brush masks of an answer, in its order."""
    return [decode(region["value"]["rle"], SIZE) for region in answer["results"][0]["result"]]


def rectangle(x: float, y: float, width: float, height: float, **more: Any) -> dict[str, Any]:
    """A region as the rectangle tool sends it, in percent; the real one has no is_positive either. more: fields of the
    region; ``value`` is added to its own."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["Cat"]}
    value |= more.pop("value", {})
    sizes = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    place = {"id": f"r{x}", "from_name": "rect", "to_name": "image", "type": "rectanglelabels"}
    return {**sizes, "value": value, **place, **more}


def key_point(x: float, y: float, *, positive: bool = True, **more: Any) -> dict[str, Any]:
    """A click of the smart key-point tool, in percent. more: as for `rectangle`."""
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": ["Cat"]}
    value |= more.pop("value", {})
    sizes = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    place = {"id": f"k{x}-{y}", "from_name": "kp", "to_name": "image", "type": "keypointlabels"}
    return {**sizes, "value": value, "is_positive": positive, **place, **more}
