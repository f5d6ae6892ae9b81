"""Bytes of an image file -> RGB array, as those who show it would. Numpy and Pillow only.

`orientation` has the rules by which pixels are turned, `samples` the one by which other samples become 8 bits, `tiff`
what a TIFF stores, `whole` how much of a file must be there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFile, UnidentifiedImageError

from m2n2_engine.errors import InvalidImage
from m2n2_engine.image_file.orientation import Orientation, forget_orientation, turn_upright
from m2n2_engine.image_file.samples import Grey, Scale, check_levels, find_scale, render_grey
from m2n2_engine.image_file.tiff import describe_samples, describe_unread, has_deep_colours
from m2n2_engine.image_file.whole import load_pixels
from m2n2_engine.types import Image

# Pillow warns of large images by a limit of its own; ours is checked before any pixel is decoded. Set once and not
# around each call: the list of filters belongs to the process, and other threads decode at the same time.
warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "AVIF", "JPEG2000", "TIFF", "WEBP")
"""What is opened. Pillow reads more, some of it by starting other programs (EPS). It tries them in this order, and the
first that it has not imported yet makes it import the readers of all its 40 formats: so those of the usual ones come
first, which it has from the start."""

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

_SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"RIFF": "WebP",
}
"""First bytes of files whose kind is told where they cannot be opened."""

_PNG_START, _PNG_DEPTH_AT = b"\x89PNG", 24
_SIXTEEN_BITS = 16

logger = logging.getLogger(__name__)


def find_image_files(folder: Path) -> list[Path]:
    """Files below a folder that are named like images of a format that `decode_image` opens, in the order of their
    names."""
    endings = {ending for ending, name in PillowImage.registered_extensions().items() if name in _FORMATS}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())


def decode_image(data: bytes, *, max_pixels: int | None = None, orientation: Orientation = Orientation.FILE) -> Image:
    """Decode an image file in this process.

    Args:
        data: the whole file: AVIF, BMP, GIF, JPEG (MPO too), JPEG 2000, PNG, PPM, TIFF or WebP; the first frame of
            several. A JPEG or PNG may lack its end (``image_file.whole``), which is named in the log.
        max_pixels: refuse images of more pixels, before they are decoded; None for no limit.
        orientation: the rule by which the pixels are turned.

    Returns:
        uint8 RGB ``(H, W, 3)``, turned upright (damaged EXIF is ignored), transparency laid on white, grey samples
        other than 8-bit ones by the rule of values (``image_file.samples``), 16-bit colours by their upper 8 bits.

    Raises:
        InvalidImage: the data is empty, truncated, too large, no image, or of a kind that is not read.
    """
    with open_image(data, max_pixels=max_pixels, orientation=orientation) as file:
        file.decode()
        if file.problem is not None:
            logger.warning("%s", file.problem)
        pixels = np.empty((*file.size, 3), np.uint8)
        top = 0
        for rows in file.read_rows():
            pixels[top : top + len(rows)] = rows
            top += len(rows)
    return pixels


class OpenImage:
    """An image file whose header was read. size: ``(H, W)``, as the file has it until ``decode``, upright after it.

    problem: after ``decode``, what is missing of a file that is not quite whole; None where nothing is.
    """

    def __init__(self, image: ImageFile.ImageFile, data: bytes, orientation: Orientation) -> None:
        self._file = image
        self._image: PillowImage.Image = image
        self._data = data
        self._orientation = orientation
        self._grey: Grey | None = None
        self._scale = Scale(0.0, 0.0)
        self.problem: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` in pixels."""
        return self._image.height, self._image.width

    def decode(self) -> None:
        """Decode the pixels, turn them upright, and find what is black and white in them."""
        forget_orientation(self._file, self._orientation)
        self._grey = describe_samples(self._file)
        loaded, self.problem = load_pixels(self._file, self._data)
        forget_orientation(loaded, self._orientation)
        self._image = turn_upright(loaded)
        if self._grey is not None:
            self._scale = find_scale(self._image, self._grey)
        elif has_deep_colours(self._file) or _has_deep_colours(self._data):
            check_levels(self._image, str(self._file.format))

    def read_rows(self) -> Iterator[Image]:
        """The decoded pixels as RGB uint8 ``(h, W, 3)``, bands of some rows from the top: the whole image would be in
        memory several times while it is converted."""
        height, width = self.size
        step = max(1, _BAND_PIXELS // width)
        for top in range(0, height, step):
            band = self._image.crop((0, top, width, min(height, top + step)))
            yield _render_rgb(band) if self._grey is None else render_grey(band, self._grey, self._scale)


@contextlib.contextmanager
def open_image(
    data: bytes, *, max_pixels: int | None = None, orientation: Orientation = Orientation.FILE
) -> Iterator[OpenImage]:
    """An image file with its header read; what goes wrong with it in the block is an InvalidImage. Arguments and errors
    as of `decode_image`."""
    if not data:
        raise InvalidImage("the image file is empty (0 bytes): upload it again")
    _check_scans(data)
    _check_netpbm(data)
    try:
        with PillowImage.open(io.BytesIO(data), formats=_FORMATS) as file:
            _check_size(file.width, file.height, max_pixels)
            yield OpenImage(file, data, orientation)
    except UnidentifiedImageError:
        raise InvalidImage(_describe_unread(data)) from None
    except PillowImage.DecompressionBombError as error:
        raise InvalidImage(f"the image is too large for any setting: {error}; reduce it") from None
    except (InvalidImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders share no base: struct.error, RuntimeError, NotImplementedError, ...
        raise InvalidImage(f"the image file is damaged and cannot be decoded: {error}; export it again") from None


def _describe_unread(data: bytes) -> str:
    """Why a file is not opened, and what to do."""
    found = describe_unread(data)
    if found is not None:
        return found
    if b"<svg" in data[:_HEAD_BYTES].lower():
        return "SVG is a drawing and has no pixels to segment: export it as PNG"
    kind = next((name for start, name in _SIGNATURES.items() if data.startswith(start)), None)
    if kind is not None:
        return f"this {kind} file is damaged, or of a kind that is not read: save it again with 8-bit RGB samples"
    return f"these {len(data)} bytes are no image file: use JPEG, PNG, WebP or TIFF"


def _has_deep_colours(data: bytes) -> bool:
    """Whether a PNG has samples of 16 bits."""
    return data.startswith(_PNG_START) and data[_PNG_DEPTH_AT : _PNG_DEPTH_AT + 1] == bytes([_SIXTEEN_BITS])


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


def _render_rgb(image: PillowImage.Image) -> Image:
    if image.mode == "La":
        # Pillow converts grey with premultiplied alpha to nothing else.
        image = image.convert("LA")
    if image.has_transparency_data:
        image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, _BACKDROP), image.convert("RGBA"))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))
