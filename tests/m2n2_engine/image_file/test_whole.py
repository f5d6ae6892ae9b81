"""Files whose end is missing: nearly whole ones are taken, with a line in the log, and no others."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from m2n2_engine.errors import InvalidImage
from m2n2_engine.image_file import decode_image

NOISE = PillowImage.fromarray(np.random.default_rng(3).integers(1, 256, (640, 96, 3), np.uint8))
END_BYTES = 2


def encode(kind: str, image: PillowImage.Image = NOISE, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_without_its_end_marker_is_the_same_picture(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode("JPEG", **options)
    assert whole[-END_BYTES:] == b"\xff\xd9"
    np.testing.assert_array_equal(decode_image(whole[:-END_BYTES]), decode_image(whole))
    assert caplog.messages == [
        "the JPEG file ends early or is damaged near its end, all of its rows are there: upload it again"
    ]


def test_a_grey_jpeg_without_its_end_marker_is_the_same_picture() -> None:
    whole = encode("JPEG", NOISE.convert("L"))
    np.testing.assert_array_equal(decode_image(whole[:-END_BYTES]), decode_image(whole))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_few_rows_may_be_missing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = encode(kind)
    found, expected = decode_image(whole[: -len(whole) // 50]), decode_image(whole)
    np.testing.assert_array_equal(found[:600], expected[:600])
    assert not np.array_equal(found, expected)
    assert "of its 640 rows are missing" in caplog.text


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_more_rows_may_not(kind: str, share: float) -> None:
    whole = encode(kind)
    with pytest.raises(InvalidImage, match="it ends early, and more than 32 of its 640 rows are missing; upload it"):
        decode_image(whole[: int(len(whole) * share)])


@pytest.mark.parametrize(
    "data",
    [
        encode("JPEG", progressive=True),
        encode("JPEG", NOISE.convert("CMYK"))[:-END_BYTES],
        encode("WEBP"),
        encode("BMP"),
    ],
    ids=["scans are missing", "CMYK", "WebP", "BMP"],
)
def test_where_it_cannot_be_told_what_is_missing_nothing_is_taken(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="damaged and cannot be decoded"):
        decode_image(data[: int(len(data) * 0.6)])


def test_a_whole_file_is_not_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "m2n2_engine")
    for data in (encode("JPEG"), encode("PNG"), encode("JPEG") + b"garbage behind the end"):
        decode_image(data)
    assert not caplog.messages
