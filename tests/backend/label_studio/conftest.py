"""What the tests of Label Studio's endpoints share."""

from __future__ import annotations

import base64

import pytest


@pytest.fixture
def interactive(recorded, make_png):
    """Body of a recorded interactive request, its image of 640 x 480 pixels in a data: URI."""

    def make(points=1, size=(640, 480)):
        body = recorded(f"predict_interactive_{points}_points")
        body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png(*size)).decode()
        return body

    return make
