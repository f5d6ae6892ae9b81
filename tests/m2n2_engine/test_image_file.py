"""Image files of every kind -> the pixels that a browser would show, or InvalidImage."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from m2n2_engine.errors import InvalidImage
from m2n2_engine.image_file import decode_image
from m2n2_engine.types import Image

Pixels = npt.NDArray[Any]
HEIGHT, WIDTH = 5, 7
ORIENTATION_TAG = 0x0112
SIXTEEN_BIT = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
AS_EIGHT_BIT = [0, 0, 1, 1, 128, 255]


def encode(picture: PillowImage.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def grey_to_rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[:, :, None], 3, axis=2)


def lay_on_white(colour: Pixels, alpha: Pixels) -> Pixels:
    """colour: (H, W) or (H, W, 3). alpha: (H, W) 0 to 255."""
    colour = grey_to_rgb(colour) if colour.ndim == 2 else colour
    share = alpha[:, :, None] / 255
    return colour * share + 255 * (1 - share)


@pytest.fixture
def rgb() -> Image:
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def grey(rgb: Image) -> npt.NDArray[np.uint8]:
    return rgb[:, :, 0]


@pytest.fixture
def alpha(rgb: Image) -> npt.NDArray[np.uint8]:
    found = rgb[:, :, 1].copy()
    found[0, :2] = 0, 255
    return found


def test_rgb_is_taken_as_it_is(rgb: Image) -> None:
    found = decode_image(encode(PillowImage.fromarray(rgb)))
    np.testing.assert_array_equal(found, rgb)
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)


def test_grey_has_three_equal_channels(grey: npt.NDArray[np.uint8]) -> None:
    found = decode_image(encode(PillowImage.fromarray(grey)))
    np.testing.assert_array_equal(found, grey_to_rgb(grey))


def test_one_bit_is_black_and_white(grey: npt.NDArray[np.uint8]) -> None:
    found = decode_image(encode(PillowImage.fromarray(grey > 100)))
    np.testing.assert_array_equal(found, grey_to_rgb(np.where(grey > 100, 255, 0)))


@pytest.fixture
def palette_picture(grey: npt.NDArray[np.uint8]) -> PillowImage.Image:
    """Indices 0, 1 and 2 of red, green and blue."""
    picture = PillowImage.fromarray(grey % 3, "L")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255], "RGB")
    assert picture.mode == "P"
    return picture


def test_a_palette_is_looked_up(palette_picture: PillowImage.Image, grey: npt.NDArray[np.uint8]) -> None:
    found = decode_image(encode(palette_picture))
    np.testing.assert_array_equal(found, np.eye(3)[grey % 3] * 255)


def test_a_transparent_palette_colour_is_white(palette_picture: PillowImage.Image, grey: npt.NDArray[np.uint8]) -> None:
    found = decode_image(encode(palette_picture, transparency=1))
    np.testing.assert_array_equal(found, np.array([[255, 0, 0], [255, 255, 255], [0, 0, 255]])[grey % 3])


def test_a_transparent_colour_of_rgb_is_white(rgb: Image) -> None:
    colour = tuple(int(value) for value in rgb[2, 3])
    found = decode_image(encode(PillowImage.fromarray(rgb), transparency=colour))
    expected = rgb.copy()
    expected[2, 3] = 255
    np.testing.assert_array_equal(found, expected)


def test_rgba_is_laid_on_white(rgb: Image, alpha: npt.NDArray[np.uint8]) -> None:
    found = decode_image(encode(PillowImage.fromarray(np.dstack([rgb, alpha]))))
    np.testing.assert_allclose(found, lay_on_white(rgb, alpha), atol=1)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == rgb[0, 1].tolist()


def test_grey_with_alpha_is_laid_on_white(grey: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> None:
    found = decode_image(encode(PillowImage.fromarray(np.dstack([grey, alpha]), "LA")))
    np.testing.assert_allclose(found, lay_on_white(grey, alpha), atol=1)


def test_cmyk_becomes_rgb() -> None:
    ink = np.zeros((8, 24, 4), np.uint8)
    ink[:, :8, 0] = ink[:, 8:16, 1] = ink[:, 16:, 3] = 255  # cyan, magenta, black
    found = decode_image(encode(PillowImage.fromarray(ink, "CMYK"), "TIFF"))
    assert found[4, [4, 12, 20]].tolist() == [[0, 255, 255], [255, 0, 255], [0, 0, 0]]
    jpeg = decode_image(encode(PillowImage.fromarray(ink, "CMYK"), "JPEG", quality=100, subsampling=0))
    np.testing.assert_allclose(jpeg[4, [4, 12, 20]], found[4, [4, 12, 20]], atol=4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    found = decode_image(encode(PillowImage.fromarray(SIXTEEN_BIT), kind))
    assert found[0].tolist() == [[value] * 3 for value in AS_EIGHT_BIT]


def test_sixteen_bit_grey_of_either_byte_order_is_scaled() -> None:
    count = SIXTEEN_BIT.size
    fields = {256: count, 257: 1, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2 * count}
    directory_offset = 8 + 2 * count
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in fields.items())
    directory = struct.pack(">H", len(fields)) + entries + struct.pack(">I", 0)
    tiff = struct.pack(">2sHI", b"MM", 42, directory_offset) + SIXTEEN_BIT.astype(">u2").tobytes() + directory
    assert decode_image(tiff)[0, :, 0].tolist() == AS_EIGHT_BIT


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "turn_upright"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (4, lambda pixels: pixels[::-1]),
        (5, lambda pixels: pixels.transpose(1, 0, 2)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (7, lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda pixels: np.rot90(pixels)),
    ],
)
def test_exif_orientation_is_applied(kind: str, orientation: int, turn_upright: Callable[[Pixels], Pixels]) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :16] = 255  # one bright corner: no two orientations look alike but with the size
    stored[:16, 16:32] = 128
    exif = PillowImage.Exif()
    exif[ORIENTATION_TAG] = orientation
    found = decode_image(encode(PillowImage.fromarray(stored), kind, exif=exif))
    upright = turn_upright(stored)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 4


# Pillow warns of some of it, which is an error in these tests and a line in the server's log.
pillow_may_warn = pytest.mark.filterwarnings("ignore::UserWarning")


@pillow_may_warn
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0neither II nor MM",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0a\0\0\0\0\0\0\0",
    ],
    ids=["empty", "no byte order", "no directory", "directory elsewhere", "value elsewhere", "orientation of text"],
)
def test_damaged_exif_is_ignored(kind: str, exif: bytes) -> None:
    grey = PillowImage.new("RGB", (48, 32), (90, 90, 90))
    found = decode_image(encode(grey, kind, exif=exif))
    assert found.shape == (32, 48, 3)
    assert (found == 90).all()


@pillow_may_warn
def test_the_orientation_counts_where_the_rest_of_the_exif_is_damaged() -> None:
    orientation = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    damaged = b"\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\0"
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + orientation + damaged + b"\0\0\0\0"
    assert decode_image(encode(PillowImage.new("RGB", (48, 32)), "JPEG", exif=exif)).shape == (48, 32, 3)


def test_webp(rgb: Image) -> None:
    found = decode_image(encode(PillowImage.fromarray(rgb), "WEBP", lossless=True))
    np.testing.assert_array_equal(found, rgb)


def test_an_animation_is_its_first_frame() -> None:
    frames = [PillowImage.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "lime", "blue")]
    found = decode_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert (found == (255, 0, 0)).all()


def test_one_pixel() -> None:
    found = decode_image(encode(PillowImage.new("RGB", (1, 1), (1, 2, 3))))
    assert found.tolist() == [[[1, 2, 3]]]


def test_no_bytes() -> None:
    with pytest.raises(InvalidImage, match=r"the image file is empty \(0 bytes\): upload it again"):
        decode_image(b"")


def test_a_drawing_is_told_from_an_image() -> None:
    with pytest.raises(InvalidImage, match="SVG is a drawing and has no pixels to segment: export it as PNG"):
        decode_image(b'<svg xmlns="http://www.w3.org/2000/svg"/>')


@pytest.mark.parametrize("data", [b"hello", b"<html>hello</html>", b"\x00" * 100])
def test_what_is_no_image_names_what_is(data: bytes) -> None:
    with pytest.raises(InvalidImage, match=rf"these {len(data)} bytes are no image file: use JPEG, PNG, WebP or TIFF"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_file_is_damaged(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(PillowImage.fromarray(noise), kind)
    with pytest.raises(InvalidImage, match=r"the image file is damaged and cannot be decoded: .*export it again"):
        decode_image(data[: len(data) // 2])


def test_a_format_that_is_not_opened_is_no_image() -> None:
    with pytest.raises(InvalidImage, match="are no image file"):
        decode_image(encode(PillowImage.new("RGB", (16, 16)), "DDS"))


def spoil(data: bytes, start: int) -> bytes:
    return data[:start] + bytes(len(data) - start)


NOISE = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        # The pixels of an AVIF are not there; a PNG tells another length of its header.
        (spoil(encode(NOISE, "AVIF"), 280), RuntimeError),
        (encode(NOISE).replace(b"\0\0\0\x0dIHDR", b"\0\0\0\x0cIHDR"), ValueError),
    ],
)
def test_a_damage_that_pillow_has_no_error_for_is_damage_too(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error), PillowImage.open(io.BytesIO(data), formats=["AVIF", "PNG"]) as file:
        file.load()
    with pytest.raises(InvalidImage, match=r"the image file is damaged and cannot be decoded: .*; export it again"):
        decode_image(data)


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    whole = encode(PillowImage.new("RGB", (30, 20)))
    without_pixels = spoil(whole, whole.index(b"IDAT") + 4)
    with pytest.raises(InvalidImage, match="damaged"):
        decode_image(without_pixels, max_pixels=600)
    with pytest.raises(
        InvalidImage, match=r"30 x 20 pixels, more than the 599 allowed: reduce it or raise M2N2_MAX_IMAGE_MEGAPIXELS"
    ):
        decode_image(without_pixels, max_pixels=599)


def test_as_many_pixels_as_allowed_are_decoded() -> None:
    assert decode_image(encode(PillowImage.new("RGB", (30, 20))), max_pixels=600).shape == (20, 30, 3)


def test_more_pixels_than_pillow_opens_are_an_invalid_image() -> None:
    header = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    bitmap = header + struct.pack("<IiiHHIIiiII", 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(InvalidImage, match=r"too large for any setting"):
        decode_image(bitmap)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P1\n# a comment\n2 1\n1 0", [0, 255]),
        (b"P2 # a comment\r2 1 # another\n255\n7 9\n", [7, 9]),
        (b"P3\n2 1 255 7 7 7 9 9 9\n", [7, 9]),
        (b"P4\n2 1\n\x80", [0, 255]),
        (b"P5\n#" + b"x" * 60_000 + b"\n2 1 255\n\x07\x09", [7, 9]),
        (b"P6 2 1 255\n\x07\x07\x07\x09\x09\x09", [7, 9]),
    ],
)
def test_every_kind_of_netpbm_file_is_read(data, expected):
    assert decode_image(data)[0, :, 0].tolist() == expected
