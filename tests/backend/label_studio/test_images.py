"""Images as Label Studio's page shows them: which way up, and as they are now."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from backend.label_studio.brush_rle import decode

WIDTH, HEIGHT = 64, 48


def encode(kind: str, size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 1) -> bytes:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PillowImage.new("RGB", size, (10, 200, 30)).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.fixture
def ask(recorded: Any, client: Any) -> Any:
    """A recorded click on an image; the answer's one region."""

    def ask(reference: str, shown: tuple[int, int], client: Any = client) -> Any:
        body = recorded("predict_interactive_1_points")
        body["tasks"][0]["data"]["image"] = reference
        (point,) = body["params"]["context"]["result"]
        point["original_width"], point["original_height"] = shown
        response = client.post("/predict", json=body)
        assert response.status_code == 200, response.json
        (region,) = response.json["results"][0]["result"]
        return region

    return ask


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_webp_is_not_turned(ask: Any, segmenter: Any, orientation: int) -> None:
    reference = "data:image/webp;base64," + base64.b64encode(encode("WEBP", orientation=orientation)).decode()
    region = ask(reference, (WIDTH, HEIGHT))
    assert segmenter.prepared == [(HEIGHT, WIDTH, 3)]
    assert decode(region["value"]["rle"], (HEIGHT, WIDTH)).any()


@pytest.mark.parametrize("kind", ["AVIF", "JPEG", "PNG", "TIFF"])
def test_what_a_browser_turns_is_turned(ask: Any, segmenter: Any, kind: str) -> None:
    ask("data:;base64," + base64.b64encode(encode(kind, orientation=6)).decode(), (HEIGHT, WIDTH))
    assert segmenter.prepared == [(WIDTH, HEIGHT, 3)]


def test_an_image_that_was_replaced_by_one_of_another_size_is_fetched_at_once(
    ask: Any, make_client: Any, segmenter: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client({"M2N2_LOCAL_FILES_ROOT": str(tmp_path)})
    (tmp_path / "a.png").write_bytes(encode("PNG"))
    ask("/data/local-files/?d=a.png", (WIDTH, HEIGHT), client)
    (tmp_path / "a.png").write_bytes(encode("PNG", (200, 100)))
    region = ask("/data/local-files/?d=a.png", (200, 100), client)
    assert segmenter.prepared == [(HEIGHT, WIDTH, 3), (100, 200, 3)]
    assert "the mask is scaled" not in caplog.text
    # A page that was opened before still has the old one: the mask is scaled to it, as ever.
    region = ask("/data/local-files/?d=a.png", (WIDTH, HEIGHT), client)
    assert np.shape(decode(region["value"]["rle"], (HEIGHT, WIDTH))) == (HEIGHT, WIDTH)
    assert "the mask is scaled" in caplog.text
