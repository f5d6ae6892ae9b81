"""Samples that are not of 8 bits: a picture as good as that of 8 bits, or a message that says what they are."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as PillowImage

from m2n2_engine.errors import InvalidImage
from m2n2_engine.image_file import decode_image
from m2n2_engine.image_file.samples import Scale, choose_scale

Values = npt.NDArray[Any]

PHOTO = np.add.outer(np.arange(64) * 2, np.arange(96)).clip(0, 255).astype(np.uint8)
"""Grey values from 0 to 221 in 8 bits."""


def tiff(values: Values, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "minisblack", **options})
    return file.getvalue()


def png(values: Values) -> bytes:
    """Values in the order red, green, blue."""
    return bytes(cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)[1])


def stretched(values: Values) -> Values:
    """As the rule has values that fill no range in use."""
    real = values.astype(float)
    return np.rint((real - real.min()) / (real.max() - real.min()) * 255)


def assert_grey(data: bytes, expected: Values, most_apart: int = 0) -> None:
    found = decode_image(data).astype(int)
    assert (found[:, :, 0] == found[:, :, 1]).all()
    assert (found[:, :, 0] == found[:, :, 2]).all()
    assert np.abs(found[:, :, 0] - expected).max() <= most_apart


# Ranges in use are honoured


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("encode", [png, tiff])
def test_so_many_bits_in_16_are_a_range_of_their_own(bits: int, encode: Any) -> None:
    assert_grey(encode(PHOTO.astype(np.uint16) << (bits - 8)), PHOTO, most_apart=1)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_real_numbers_up_to_one_or_of_8_or_16_bits(white: int) -> None:
    assert_grey(tiff((PHOTO / 255 * white).astype(np.float32)), PHOTO)


def test_signed_and_32_bit_integers_without_a_sign() -> None:
    assert_grey(tiff(PHOTO.astype(np.int16) * 128), PHOTO, most_apart=1)
    assert_grey(tiff(PHOTO.astype(np.uint32) << 24), PHOTO, most_apart=1)
    assert_grey(tiff(PHOTO.astype(np.int32)), PHOTO)


@pytest.mark.parametrize(
    "values", [PHOTO.astype(np.uint16) * 257, PHOTO.astype(np.uint16) * 16, PHOTO / np.float32(255)]
)
def test_zero_may_be_white(values: Values) -> None:
    assert_grey(tiff(values, photometric="miniswhite"), 255 - PHOTO.astype(int), most_apart=1)


# Others are stretched


@pytest.mark.parametrize(
    "values",
    [
        PHOTO.astype(np.int16) * 16 - 1024,  # Hounsfield units
        PHOTO.astype(np.uint16) * 10 + 28_000,  # a thermal camera
        PHOTO.astype(np.float32) * 3 - 400,  # heights
        PHOTO.astype(np.float32) * 1e6,
        PHOTO.astype(np.float32) / 1000 + np.float32(0.2),
        PHOTO.astype(np.int32) * -7,
        (PHOTO // 2).astype(np.int8) - 60,
    ],
    ids=["signed", "far from zero", "negative", "large", "small share", "all negative", "8-bit signed"],
)
def test_values_of_no_range_in_use_are_stretched(values: Values) -> None:
    assert_grey(tiff(values), stretched(values), most_apart=1)


def test_a_few_dead_pixels_do_not_darken_all_others() -> None:
    values = np.tile(PHOTO.astype(np.uint16) << 4, (4, 4))
    values[3, 5:7] = 65535
    found = decode_image(png(values))[:, :, 0]
    assert (found[3, 5:7] == 255).all()
    found[3, 5:7] = values[3, 5:7] = 0
    assert np.abs(found.astype(int) - np.rint(values / 4095 * 255)).max() <= 1


def test_pixels_without_a_value_are_black() -> None:
    values = PHOTO.astype(np.float32) / 255
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    assert_grey(tiff(values), np.where(np.isfinite(values), PHOTO, 0))
    heights = PHOTO.astype(np.float32) + 1000
    heights[:20] = -9999
    found = decode_image(tiff(heights, extratags=[(42113, "s", 0, "-9999", True)]))[:, :, 0]
    assert (found[:20] == 0).all()
    assert np.abs(found[20:].astype(int) - stretched(PHOTO[20:])).max() <= 1


@pytest.mark.parametrize("value", [0, 1000, 65535])
def test_a_flat_picture_stays_flat(value: int) -> None:
    found = decode_image(png(np.full((5, 7), value, np.uint16)))
    assert len(np.unique(found)) == 1


@pytest.mark.parametrize(
    ("low", "high", "is_real", "expected"),
    [
        (0, 255, False, (0, 255)),
        (0, 256, False, (0, 511)),
        (0, 4095, False, (0, 4095)),
        (2047, 4095, False, (0, 4095)),
        (2048, 4095, False, (2048, 4095)),
        (-1, 4095, False, (-1, 4095)),
        (0, 2**32 - 1, False, (0, 2**32 - 1)),
        (0, 1, True, (0, 1)),
        (0, 0.5, True, (0, 1)),
        (0, 0.4, True, (0, 0.4)),
        (0, 1.5, True, (0, 1.5)),
        (0, 200, True, (0, 255)),
        (0, 60000, True, (0, 65535)),
        (0, 70000, True, (0, 70000)),
        (7, 7, False, (0, 255)),
        (-7, -7, False, (-7, -7)),
    ],
)
def test_the_rule_of_values(low: float, high: float, is_real: bool, expected: tuple[float, float]) -> None:
    assert choose_scale(low, high, is_real) == Scale(*expected)


# Colours


def test_16_bit_colours_are_taken_by_their_upper_8_bits() -> None:
    colours = np.dstack([PHOTO, PHOTO[::-1], PHOTO[:, ::-1]])
    for data in (png(colours.astype(np.uint16) * 257), tiff(colours.astype(np.uint16) * 257, photometric="rgb")):
        np.testing.assert_array_equal(decode_image(data), colours)


def test_grey_with_premultiplied_alpha_is_laid_on_white() -> None:
    half = np.dstack([PHOTO // 2, np.full_like(PHOTO, 128)])
    found = decode_image(tiff(half, planarconfig="contig", extrasamples=["assocalpha"]))[:, :, 0]
    assert np.abs(found - (PHOTO // 2 + 127.0)).max() <= 2


FLOATS = PHOTO / np.float32(255)
READ = "read are 1 band of 8, 16 or 32-bit integers or 32-bit floats, and 3 or 4 bands"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            tiff(np.dstack([PHOTO] * 5), planarconfig="contig"),
            f"this TIFF has 5 bands of 8-bit unsigned integers, compression 1, which cannot be read: {READ}",
        ),
        (
            tiff(np.dstack([PHOTO] * 5), planarconfig="contig", bigtiff=True),
            "this TIFF has 5 bands of 8-bit unsigned integers",
        ),
        (
            tiff(np.dstack([PHOTO] * 5), planarconfig="contig", byteorder=">"),
            "this TIFF has 5 bands of 8-bit unsigned integers",
        ),
        (
            tiff(np.dstack([FLOATS] * 3), photometric="rgb"),
            "this TIFF has 3 bands of 32-bit real numbers (float), compression 1, which cannot be read",
        ),
        (tiff(FLOATS.astype(np.float64)), "this TIFF has 1 band of 64-bit real numbers (float)"),
        (tiff(FLOATS.astype(np.float16)), "this TIFF has 1 band of 16-bit real numbers (float)"),
        (
            tiff(np.stack([PHOTO.astype(np.uint16)] * 3), photometric="rgb", planarconfig="separate"),
            "this TIFF has 3 bands of 16-bit unsigned integers in planes one after the other, which cannot be read",
        ),
        (
            tiff(np.stack([PHOTO.astype(np.int32)] * 5), planarconfig="separate"),
            "this TIFF has 5 bands of 32-bit signed integers in planes",
        ),
        (
            tiff(np.dstack([PHOTO] * 3), photometric="cielab"),
            "this TIFF has 3 bands of 8-bit unsigned integers in CIE L*a*b*, which cannot be read: save it as RGB",
        ),
        (
            tiff(np.dstack([PHOTO.astype(np.uint16) << 4] * 3), photometric="rgb"),
            "this TIFF has 3 colour bands of 16-bit unsigned integers, but their values leave 14 of 256 levels",
        ),
        (png(np.dstack([PHOTO.astype(np.uint16) << 4] * 4)), "this PNG has 3 colour bands of 16-bit unsigned integers"),
        (
            tiff(np.full((5, 7), np.nan, np.float32)),
            "the one band of 32-bit real numbers (float) has no value in any pixel",
        ),
        (b"II*\0\xff\xff\xff\xff", "its tags cannot be read; export it again"),
        (b"MM\0*\0\0\0\x08\0\0\0\0\0\0", "its tags cannot be read; export it again"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "this JPEG 2000 file is damaged, or of a kind that is not read"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_read_is_told_with_bands_type_and_remedy(data: bytes, told: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        decode_image(data)
    assert told in str(caught.value)
    assert "no image file" not in str(caught.value)


def test_planes_of_8_bits_are_read() -> None:
    colours = np.stack([PHOTO, PHOTO[::-1], PHOTO[:, ::-1]])
    found = decode_image(tiff(colours, photometric="rgb", planarconfig="separate"))
    np.testing.assert_array_equal(found, np.moveaxis(colours, 0, 2))


def test_a_picture_of_several_bands_of_rows_has_one_scale() -> None:
    values = np.zeros((1400, 1000), np.uint16)
    values[-1] = 4000
    found = decode_image(png(values))[:, :, 0]
    assert (found[:-1] == 0).all()
    assert (found[-1] == round(4000 / 4095 * 255)).all()


def test_an_8_bit_picture_is_never_stretched() -> None:
    dark = (PHOTO // 16).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(dark).save(file, "PNG")
    assert_grey(file.getvalue(), dark)
