"""A running server as a segmenter: the same clicks give the same masks as the engine behind it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
import requests
from PIL import Image as PillowImage

from backend.errors import NotReady
from backend.label_studio import brush_rle
from backend.settings import Settings
from backend.tools.predict_client import ask, make_body, read_auth, read_status
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Box, Click, EngineStatus, Image, Mask, Segmentation, Timings

_COMPRESS_LEVEL = 1
"""Of zlib, the fastest: the image goes along with every click."""


def connect(settings: Settings, url: str) -> RemoteSegmenter:
    """A server that is ready. settings: whose user and password are given to it. Raises NotReady."""
    url = url.rstrip("/")
    auth = read_auth(settings)
    status = read_status(url, auth)
    if not status.is_ready:
        raise NotReady(f"{url} is not ready ({status.reason or status.state}): try again later")
    return RemoteSegmenter(url, auth, status)


class RemoteSegmenter:
    """Stateless to its caller and safe under threads; implements ``types.ClickSegmenter``."""

    def __init__(self, url: str, auth: tuple[str, str] | None, status: EngineStatus) -> None:
        self._url = url
        self._auth = auth
        self._status = status

    def segment(
        self, picture: Image, clicks: Sequence[Click], /, box: Box | None = None, mask: Mask | None = None
    ) -> Segmentation:
        """As ``Segmenter.segment``; the time of a click includes the way there and back, the score is not sent and 0.

        The image is sent as PNG, without loss. Raises Unanswered, and ConfigurationError for a box or a mask: the
        server is asked as Label Studio asks, where a box cannot come with clicks, and has places in percent, which
        would widen it.
        """
        if mask is not None:
            raise ConfigurationError("a server is asked as Label Studio asks, which sends no mask: give clicks alone")
        if box is not None:
            raise ConfigurationError(
                "a server is asked as Label Studio asks, which sends no box together with clicks: evaluate boxes "
                "without --server"
            )
        height, width = picture.shape[:2]
        placed = [
            Click(find_percent(click.x, width), find_percent(click.y, height), click.positive) for click in clicks
        ]
        file = io.BytesIO()
        PillowImage.fromarray(picture).save(file, "PNG", compress_level=_COMPRESS_LEVEL)
        uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        with requests.Session() as session:
            session.auth = self._auth
            answer = ask(session, self._url, make_body(uri, (height, width), placed))
        shape = (height, width)
        mask = brush_rle.decode(answer.rle, shape) if answer.rle else np.zeros(shape, bool)
        return Segmentation(mask, 0.0, Timings(answer.prepare_seconds, answer.seconds - answer.prepare_seconds))

    def status(self) -> EngineStatus:
        """The server's, as it was when it was connected."""
        return self._status


def find_percent(pixels: float, size: int) -> float:
    """The percentage of ``size`` that the server turns into ``pixels`` again, or into the least that is more.

    Less would be another pixel where ``pixels`` is a whole number.
    """
    percent = 100 * pixels / size
    while percent / 100 * size < pixels:
        percent = math.nextafter(percent, math.inf)
    return percent
