"""Bytes of an image file -> RGB array, as a browser would show it. Numpy and Pillow only."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import Image

# Pillow warns of large images by a limit of its own; ours is checked before any pixel is decoded. Set once and not
# around each call: the list of filters belongs to the process, and other threads decode at the same time.
warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)

_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened. Pillow reads more, some of it by starting other programs (EPS)."""

_NETPBM_PLAIN = (b"P1", b"P2", b"P3")
_NETPBM = {b"P1": 3, b"P2": 4, b"P3": 4, b"P4": 3, b"P5": 4, b"P6": 4}
"""Kind of a Netpbm file -> words of its header."""

_NETPBM_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
_MOST_NETPBM_HEAD_BYTES = 64 * 1024
_MOST_PLAIN_BYTES = 4 * 1024 * 1024
"""Of a Netpbm file in plain text. Here: it takes some seconds."""

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_HEAD_BYTES = 4096
_BAND_PIXELS = 1_000_000
"""Pixels that are converted at a time. Here: their copies are small beside the image itself."""

_JPEG_START, _JPEG_SCAN = b"\xff\xd8", b"\xff\xda"
_MOST_SCANS = 100
"""Of a JPEG. Here: progressive encoders write about 10, and previews in the header count too."""

_BACKDROP = (255, 255, 255, 255)
"""Transparent pixels are laid on white, as annotation pages show them."""

_TURNS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
"""EXIF orientation (CIPA DC-008, tag 0x0112) -> what turns the stored pixels upright; 1 and all others are."""


def find_image_files(folder: Path) -> list[Path]:
    """Files below a folder that are named like images of a format that `decode_image` opens, in the order of their
    names."""
    endings = {ending for ending, name in PillowImage.registered_extensions().items() if name in _FORMATS}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())


def decode_image(data: bytes, *, max_pixels: int | None = None) -> Image:
    """Decode an image file in this process.

    Args:
        data: the whole file: AVIF, BMP, GIF, JPEG (MPO too), JPEG 2000, PNG, PPM, TIFF or WebP; the first frame of
            several.
        max_pixels: refuse images of more pixels, before they are decoded; None for no limit.

    Returns:
        uint8 RGB ``(H, W, 3)`` with the EXIF orientation applied (damaged EXIF is ignored), transparency laid on white,
        16-bit grey scaled to 8 bits.

    Raises:
        InvalidImage: the data is empty, truncated, too large or no image.
    """
    with open_image(data, max_pixels=max_pixels) as file:
        file.decode()
        pixels = np.empty((*file.size, 3), np.uint8)
        top = 0
        for rows in file.read_rows():
            pixels[top : top + len(rows)] = rows
            top += len(rows)
    return pixels


class OpenImage:
    """An image file whose header was read. size: ``(H, W)``, as the file has it until ``decode``, upright after it."""

    def __init__(self, image: PillowImage.Image) -> None:
        self._image = image

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        return self._image.height, self._image.width

    def decode(self) -> None:
        """Decode the pixels, and turn them upright."""
        self._image = _turn_upright(self._image)

    def read_rows(self) -> Iterator[Image]:
        """The decoded pixels as RGB uint8 ``(h, W, 3)``, bands of some rows from the top: the whole image would be in
        memory several times while it is converted."""
        height, width = self.size
        step = max(1, _BAND_PIXELS // width)
        for top in range(0, height, step):
            yield _render_rgb(self._image.crop((0, top, width, min(height, top + step))))


@contextlib.contextmanager
def open_image(data: bytes, *, max_pixels: int | None = None) -> Iterator[OpenImage]:
    """An image file with its header read; what goes wrong with it in the block is an InvalidImage. Arguments and errors
    as of `decode_image`."""
    if not data:
        raise InvalidImage("the image file is empty (0 bytes): upload it again")
    _check_scans(data)
    _check_netpbm(data)
    try:
        with PillowImage.open(io.BytesIO(data), formats=_FORMATS) as file:
            _check_size(file.width, file.height, max_pixels)
            yield OpenImage(file)
    except UnidentifiedImageError:
        if b"<svg" in data[:_HEAD_BYTES].lower():
            raise InvalidImage("SVG is a drawing and has no pixels to segment: export it as PNG") from None
        raise InvalidImage(f"these {len(data)} bytes are no image file: use JPEG, PNG, WebP or TIFF") from None
    except PillowImage.DecompressionBombError as error:
        raise InvalidImage(f"the image is too large for any setting: {error}; reduce it") from None
    except (InvalidImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders share no base: struct.error, RuntimeError, NotImplementedError, ...
        raise InvalidImage(f"the image file is damaged and cannot be decoded: {error}; export it again") from None


def _check_scans(data: bytes) -> None:
    """Each scan of a JPEG goes over all of the image once more. A marker of a scan cannot stand within pixel data."""
    if data.startswith(_JPEG_START) and (scans := data.count(_JPEG_SCAN)) > _MOST_SCANS:
        raise InvalidImage(f"the JPEG has {scans} scans, more than {_MOST_SCANS}: export it again")


def _check_netpbm(data: bytes) -> None:
    """Headers, and pixels in plain text, are read byte by byte by slow means: a second for each megabyte."""
    kind = data[:2]
    if kind in _NETPBM_PLAIN and len(data) > _MOST_PLAIN_BYTES:
        raise InvalidImage(f"a {kind.decode()} file of {len(data)} bytes is too slow to read: save it in binary form")
    if kind in _NETPBM and len(_NETPBM_COMMENT.sub(b" ", data[:_MOST_NETPBM_HEAD_BYTES]).split()) < _NETPBM[kind]:
        raise InvalidImage(f"the {kind.decode()} file is damaged or has a very long comment: export it again")


def _check_size(width: int, height: int, max_pixels: int | None) -> None:
    if max_pixels is not None and width * height > max_pixels:
        raise InvalidImage(
            f"the image has {width} x {height} pixels, more than the {max_pixels} allowed: "
            "reduce it or raise M2N2_MAX_IMAGE_MEGAPIXELS"
        )


def _turn_upright(image: PillowImage.Image) -> PillowImage.Image:
    # Before EXIF is asked for: a PNG may have it behind its pixels.
    image.load()
    turn = _TURNS.get(_read_orientation(image))
    return image if turn is None else image.transpose(turn)


def _read_orientation(image: PillowImage.Image) -> int:
    """The EXIF orientation; 1 where there is none, or none that can be read: the pixels are sound all the same."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's readers of EXIF share no base: SyntaxError, struct.error, TypeError, ...
        return 1


def _render_rgb(image: PillowImage.Image) -> Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        # Pillow's own conversion of 16-bit grey clips at 255 instead of scaling.
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
        return np.ascontiguousarray(np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2))
    if image.has_transparency_data:
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, _BACKDROP), image.convert("RGBA"))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))
