"""An agent of CVAT (Cloud, Enterprise) that has this server find the masks.

    cvat-cli function create-native M2N2 --function-file agent.py
    cvat-cli function run-agent ID --function-file agent.py -p url=str:http://localhost:9090

It needs cvat-cli 2.71 or newer and nothing else: the server keeps the model and what it has prepared, for Label Studio
too. Where that cvat-cli knows of confidences, masks have one.

Where the server asks for credentials, they are in M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD here as there.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import tempfile
import urllib.error
import urllib.request
import weakref
import zlib
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import models

_TIMEOUT_SECONDS = 110.0
"""The server answers within 90 s that it has too much to do; CVAT waits 120 s."""

_PNG_MODES = frozenset({"1", "I;16", "L", "LA", "P", "RGB", "RGBA"})


class Frame:
    """A frame in a file of its own, which is gone when nobody refers to it any more.

    CVAT's driver keeps one for every frame of the last ten minutes, however many there are: their pixels would fill the
    memory.
    """

    def __init__(self, image: PIL.Image.Image) -> None:
        descriptor, name = tempfile.mkstemp(prefix="m2n2-", suffix=".png")
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)
        with open(descriptor, "wb") as file:
            # Lossless, so that the server knows the pixels again, and at zlib's fastest.
            kept = image if image.mode in _PNG_MODES else image.convert("RGB")
            kept.save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)


class Interactor:
    """What CVAT's driver calls. url: of the server. timeout_seconds: longest wait for its answer."""

    # CVAT waits for so many positive points, and a box is none of them.
    spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, url: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._url = f"{url.rstrip('/')}/cvat/"
        self._timeout_seconds = timeout_seconds

    def preprocess_image(self, context: cvataa.InteractionFunctionContext, image: PIL.Image.Image) -> Frame:
        """A light handle; the server prepares the frame with its first click."""
        return Frame(image)

    def detect(
        self, context: cvataa.InteractionFunctionContext, pp_image: Frame, prompts: cvataa.InteractionPrompts
    ) -> list[cvataa.InteractionResultShape]:
        """The mask of the object; raises BadFunctionError, whose message CVAT shows."""
        body = {
            "image": base64.b64encode(pp_image.path.read_bytes()).decode(),
            "pos_points": prompts.pos_points,
            "neg_points": prompts.neg_points,
            "obj_bbox": prompts.bounding_box,
            "answer": "shapes",
        }
        return [_make_shape(shape) for shape in self._ask(body)["shapes"]]

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


def _make_shape(shape: dict[str, Any]) -> cvataa.InteractionResultShape:
    """A mask of the server's as CVAT's driver takes it."""
    shape = dict(shape)
    attributes = shape.pop("attributes", [])
    if hasattr(cvataa, "InteractionResultAttributes"):
        shape["attributes"] = [models.AttributeValRequest(**attribute) for attribute in attributes]
    return cvataa.InteractionResultShape(**shape)


def create(url: str = "http://localhost:9090", timeout_seconds: float = _TIMEOUT_SECONDS) -> Interactor:
    """The function that CVAT's driver loads from this file.

    Args:
        url: The server's address; ``-p url=str:...`` on the command line.
        timeout_seconds: Longest wait for its answer; ``-p timeout_seconds=float:...``. CVAT waits no longer than 120 s.
    """
    return Interactor(url, timeout_seconds)


def _make_headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    user, password = os.environ.get("M2N2_BASIC_AUTH_USER"), os.environ.get("M2N2_BASIC_AUTH_PASSWORD")
    if user and password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return headers
