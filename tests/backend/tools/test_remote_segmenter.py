"""A server as a segmenter: the same clicks, the same masks, the same NoC as the engine behind it."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from backend.cli.main import app
from backend.errors import NotReady
from backend.label_studio import brush_rle
from backend.label_studio.payload import PredictRequest
from backend.label_studio.pending.memory import PendingRegions
from backend.label_studio.prompt import parse_prompts
from backend.settings import load_settings
from backend.tools.load import draw_image
from backend.tools.local_server import LocalServer
from backend.tools.predict_client import Unanswered, make_body
from backend.tools.remote_segmenter import connect, find_percent
from m2n2_engine.engine import load_engine
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.datasets.coco import write_dataset
from m2n2_engine.tools.datasets.ground_truth import GroundTruth
from m2n2_engine.types import Box, Click

TINY = {"M2N2_BACKBONE": "tiny", "M2N2_GRID": "8", "M2N2_THREADS": "1"}
AUTH = {"M2N2_BASIC_AUTH_USER": "anna", "M2N2_BASIC_AUTH_PASSWORD": "secret"}
SIZE = 37, 53  # H, W: no power of two, so that percentages are rounded


def test_every_pixel_comes_back_as_itself():
    for width in (1, 3, 53, 481, 640, 1023, 2111):
        clicks = [Click(find_percent(x, width), find_percent(0, 7)) for x in range(width)]
        for start in range(0, width, 200):
            body = make_body("data:,", (7, width), clicks[start : start + 200])
            (prompt,) = parse_prompts(PredictRequest.model_validate(body), PendingRegions())
            for x, click in enumerate(prompt.clicks((7, width)), start=start):
                assert x <= click.x < x + 1e-9, (width, x)
                assert click.y == 0


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A real server."""
    with LocalServer(TINY, tmp_path_factory.mktemp("server") / "server.log") as server:
        yield server.url


@pytest.fixture
def settings(monkeypatch):
    """Of the engine behind the server, and a user."""
    for name, value in {**TINY, **AUTH, "M2N2_DISK_CACHE_MIB": "0"}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_masks_are_those_of_the_engine(url, settings):
    engine, remote = load_engine(settings.engine_config()), connect(settings, f"{url}/")
    assert remote.status().backbone == "tiny"
    rng = np.random.default_rng(0)
    compared = 0
    for number in range(2):
        image = draw_image(number, SIZE)
        clicks = []
        for _ in range(6):
            x, y = rng.integers(0, SIZE[1]), rng.integers(0, SIZE[0])
            clicks.append(Click(float(x), float(y), positive=not clicks or bool(rng.integers(2))))
            found = remote.segment(image, clicks)
            np.testing.assert_array_equal(found.mask, engine.segment(image, clicks).mask)
            compared += bool(found.mask.any())
            assert (found.timings.prepare_seconds > 0) or len(clicks) > 1
            assert found.timings.clicks_seconds > 0
    assert compared > 6


def test_an_empty_mask(url, settings):
    """A negative click on the pixel of the positive one leaves nothing."""
    image = draw_image(0, SIZE)
    clicks = [Click(10, 10), Click(10, 10, positive=False)]
    assert not load_engine(settings.engine_config()).segment(image, clicks).mask.any()
    found = connect(settings, url).segment(image, clicks)
    assert (found.mask.shape, found.mask.any()) == (SIZE, False)


def test_evaluation_over_http_gives_the_same_figures(url, settings, tmp_path):
    samples = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        image = draw_image(number, SIZE)
        PillowImage.fromarray(image).save(path)
        bright = image.mean(axis=2) > np.median(image)
        band = np.zeros(SIZE, bool)
        band[::9] = True
        samples.append((path, [GroundTruth(bright & ~band, band)]))
    write_dataset(tmp_path / "Bright", samples)
    figures = []
    for name, options in (("local", []), ("server", ["--server", url])):
        arguments = ["--dataset", tmp_path / "Bright", "--out", tmp_path / name, "--clicks", 3, *options]
        result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
        assert result.exit_code == 0, result.output + repr(result.exception)
        figures.append(json.loads((tmp_path / name / "Bright_metrics.json").read_text()))
    local, remote = figures
    assert local["figures"] == remote["figures"]
    assert [made["clicks"] for made in local["refinements"]] == [made["clicks"] for made in remote["refinements"]]
    assert [made["ious"] for made in local["refinements"]] == [made["ious"] for made in remote["refinements"]]
    assert remote["run"]["backbone"] == "tiny"
    assert remote["settings"]["server"] == url


def test_a_box_is_refused_before_anything_is_sent(server, settings):
    server.answer("/health", b'{"status": "UP", "model_version": "m2n2"}')
    with pytest.raises(ConfigurationError, match="sends no box together with clicks: evaluate boxes without --server"):
        connect(settings, server.url).segment(draw_image(0, SIZE), [], box=Box(1, 1, 9, 9))
    assert len(server.seen) == 1  # the question whether it is ready


def test_no_server(settings):
    with pytest.raises(NotReady, match=r"http://127.0.0.1:1/health: ConnectionError; start the server there"):
        connect(settings, "http://127.0.0.1:1")


def test_a_server_that_asks_for_another_user(server, settings):
    server.answer("/health", status=401)
    with pytest.raises(NotReady, match=r"/health: 401; set M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD as"):
        connect(settings, server.url)


def test_a_server_that_is_still_loading(server, settings):
    server.answer("/health", b'{"status": "UP", "model_version": "m2n2", "state": "loading", "reason": null}')
    with pytest.raises(NotReady, match=r"is not ready \(loading\): try again later"):
        connect(settings, server.url)


def test_a_server_that_fails_says_why(server, settings):
    server.answer("/health", b'{"status": "UP", "model_version": "m2n2"}')
    server.answer("/predict", b"no memory left", status=503)
    with pytest.raises(Unanswered, match=r"/predict: 503 no memory left"):
        connect(settings, server.url).segment(draw_image(0, SIZE), [Click(1, 1)])


def test_what_is_sent_is_the_image_to_the_last_bit(server, settings):
    server.answer("/health", b'{"status": "UP", "model_version": "m2n2"}')
    mask = np.zeros(SIZE, bool)
    mask[3:9, 4:20] = True
    answer = {"results": [{"result": [{"value": {"rle": brush_rle.encode(mask)}}]}]}
    server.answer("/predict", json.dumps(answer).encode(), Server_Timing="fetch;dur=3.0, attention;dur=1.5")
    image = draw_image(0, SIZE)
    found = connect(settings, server.url).segment(image, [Click(4, 5), Click(50, 30, positive=False)])
    np.testing.assert_array_equal(found.mask, mask)
    assert found.timings.prepare_seconds == 0.0015
    _, _, authorization, body = server.seen[-1]
    assert authorization == f"Basic {base64.b64encode(b'anna:secret').decode()}"
    uri = json.loads(body)["tasks"][0]["data"]["image"]
    sent = PillowImage.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(sent), image)
    signs = [point["is_positive"] for point in json.loads(body)["params"]["context"]["result"]]
    assert signs == [True, False]
