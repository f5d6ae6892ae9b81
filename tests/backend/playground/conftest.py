"""A visitor of the page, as its scripts ask the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PAGE = {"M2N2_PLAYGROUND": "on"}


@dataclasses.dataclass(frozen=True)
class Visitor:
    """client: of the application. number: that the page draws for itself."""

    client: FlaskClient
    number: str = "0" * 32

    def upload(self, file: bytes) -> TestResponse:
        return self.client.post(
            "/playground/images", data=file, content_type="application/octet-stream", headers=self.headers
        )

    def keep(self, file: bytes) -> str:
        """The digest of an image that was sent."""
        response = self.upload(file)
        assert response.status_code == 200, response.text
        digest: str = response.json["image"]
        return digest

    def prepare(self, image: str) -> TestResponse:
        return self.client.post("/playground/prepare", json={"image": image}, headers=self.headers)

    def segment(self, image: str, *marks: Mapping[str, Any], **others: Any) -> TestResponse:
        asked = {"image": image, "object": "object-1", "marks": marks, **others}
        return self.client.post("/playground/segment", json=asked, headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-M2N2-Visitor": self.number}


@pytest.fixture
def make_visitor(make_client) -> Callable[..., Visitor]:
    """A visitor of an application with these settings, beside those that give it a page."""
    return lambda environ=None: Visitor(make_client({**PAGE, **(environ or {})}))


@pytest.fixture
def visitor(make_visitor) -> Visitor:
    return make_visitor()


def click(x: float, y: float, positive: bool = True) -> dict[str, Any]:
    return {"points": [[x, y]], "positive": positive}
