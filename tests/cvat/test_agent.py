"""deploy/cvat/agent.py under the driver of cvat-cli's agents, which runs it in a process of its own.

The server is the real one. CVAT is left out: the driver is given the requests and frames that it would fetch there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
import pytest
from cvat_cli._internal.agent import RecoverableExecutor, _worker_init
from cvat_cli._internal.agent_driver_interaction import AgentInteractionFunctionDriver
from cvat_cli._internal.common import FunctionLoader
from cvat_sdk.masks import decode_mask

from m2n2_engine.types import Image

from .conftest import SHAPE, CvatServer, FindMask

FILE = Path(__file__).parents[2] / "deploy" / "cvat" / "agent.py"
POINTS = [[30.5, 40.25], [90, 60], [140, 100.5]]


class Driver(AgentInteractionFunctionDriver):
    """The real one, but for the frame: given to it, and how often it was asked for."""

    def __init__(self, executor: RecoverableExecutor, spec: Any, frame: Image) -> None:
        super().__init__(None, executor, spec)
        self.loaded = 0
        self._frame = frame

    def _get_sample_from_ar_params(self, ar_params: Any) -> Any:
        return None, None

    def _load_image_for_ar(self, sample: Any, ar_params: Any) -> PIL.Image.Image:
        self.loaded += 1
        return PIL.Image.fromarray(self._frame)

    def ask(self, positive: Any, negative: Any = (), box: Any = (), frame: int = 1) -> list[dict[str, Any]]:
        """The shapes of one request, as they are sent to CVAT."""
        request = {"type": "interact", "task": 7, "frame": frame}
        prompts = {"pos_points": positive, "neg_points": negative, "obj_bbox": box}
        result = self.calculate_result_for_ar({**request, **prompts}, lambda **_: None)
        shapes: list[dict[str, Any]] = json.loads(json.dumps(result))["shapes"]
        return shapes


def load(url: str) -> Any:
    return FunctionLoader(None, FILE, {"url": url}).load()


@pytest.fixture
def driver(server: CvatServer, frame: Image) -> Iterator[Driver]:
    loader = FunctionLoader(None, FILE, {"url": server.url})
    with RecoverableExecutor(initializer=_worker_init, initargs=[loader, None]) as executor:
        yield Driver(executor, loader.load().spec, frame)


def read_mask(shapes: list[dict[str, Any]]) -> Any:
    (shape,) = shapes
    assert shape["type"] == "mask"
    return decode_mask(shape["points"], image_width=SHAPE[1], image_height=SHAPE[0])


def test_three_clicks_are_one_preparation_and_have_the_engine_s_masks(
    driver: Driver, server: CvatServer, find_mask: FindMask
) -> None:
    before = server.passes
    prompts: list[tuple[Any, ...]] = [
        (POINTS[:1],),
        (POINTS[:2], POINTS[2:]),
        (POINTS[:1], [], [[10, 20], [100, 110]]),
    ]
    for prompt in prompts:
        np.testing.assert_array_equal(read_mask(driver.ask(*prompt)), find_mask(*prompt))
    assert (driver.loaded, server.passes) == (1, before + 1)


def test_the_same_frame_under_another_name_is_prepared_once(driver: Driver, server: CvatServer) -> None:
    before = server.passes
    assert driver.ask(POINTS, frame=1) == driver.ask(POINTS, frame=2)
    assert (driver.loaded, server.passes) == (2, before + 1)


def test_what_the_server_refuses_is_what_cvat_shows(driver: Driver) -> None:
    with pytest.raises(cvataa.BadFunctionError, match=r"refuses: 400 the click \(500, 1\) is outside the image"):
        driver.ask([[500, 1]])
    assert read_mask(driver.ask(POINTS)).any()


def test_no_server(frame: Image) -> None:
    function = load("http://127.0.0.1:1")
    with pytest.raises(cvataa.BadFunctionError, match=r"gives no answer: .*refused"):
        function._ask({})


def test_a_function_is_made_with_prompts_of_every_kind() -> None:
    spec = load("http://localhost:9090").spec
    fields = AgentInteractionFunctionDriver.get_remote_function_fields(spec)
    assert fields == {"min_pos_points": 1, "min_neg_points": 0, "startswith_box_optional": True}
    driver = AgentInteractionFunctionDriver(None, None, spec)
    driver.validate_function_compatibility({**fields, "startswith_box": False})


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_a_handle_is_a_file_that_is_gone_with_it(mode: str) -> None:
    image = PIL.Image.new(mode, (40, 30))
    handle = load("http://localhost:9090").preprocess_image(None, image)
    with PIL.Image.open(handle.path) as saved:
        assert saved.size == (40, 30)
    path = handle.path
    del handle
    assert not path.exists()


def test_the_pixels_reach_the_server_as_they_are(frame: Image) -> None:
    handle = load("http://localhost:9090").preprocess_image(None, PIL.Image.fromarray(frame))
    with PIL.Image.open(handle.path) as saved:
        np.testing.assert_array_equal(np.asarray(saved), frame)
