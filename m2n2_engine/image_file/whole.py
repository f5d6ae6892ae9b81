"""Files whose end is missing: what a browser still shows is taken, if it is nearly all of the picture.

The rule: of a JPEG or PNG that ends early, at most ``LARGEST_MISSING_SHARE`` of the rows may be missing, and of a
progressive JPEG every scan must have begun. Rows of a sequential JPEG count as missing where they end in the plain grey
that decoders fill in, rows of a PNG where they are empty.
"""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFile

from m2n2_engine.errors import InvalidImage

LARGEST_MISSING_SHARE = 0.05
"""Of the rows. Here: no object that is worth a click lies in the last twentieth of a picture alone."""

_JPEG_END = b"\xff\xd9"
_FILLED_IN = {"L": 128, "RGB": 128}
"""Mode -> value of samples that JPEG decoders have no data for."""

_BLOCK_PIXELS = 8
"""Along each side of a block of a JPEG."""

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_SCAN, _SEQUENTIAL, _PROGRESSIVE = 0xDA, (0xC0, 0xC1), 0xC2
_COEFFICIENTS = 64
_NOT_SENT = 255


def load_pixels(image: ImageFile.ImageFile, data: bytes) -> tuple[PillowImage.Image, str | None]:
    """Load the pixels of an opened file.

    Args:
        image: from Pillow, its header read.
        data: its file.

    Returns:
        The loaded image, which may be another one, and what is missing, for the log; None where nothing is.

    Raises:
        InvalidImage: more is missing than the rule allows.
        OSError: as Pillow's, where it cannot be told what is missing.
    """
    try:
        image.load()
        return image, None
    except OSError:
        found = _rescue(image, data)
        if found is None:
            raise
    most = int(found.height * LARGEST_MISSING_SHARE)
    missing = _count_missing(found, image.format == "JPEG", most + 1)
    if missing > most:
        raise InvalidImage(
            f"the image file is damaged and cannot be decoded: it ends early, and more than {most} of its "
            f"{found.height} rows are missing; upload it again, or export it again"
        )
    lost = f"{missing} of its {found.height} rows are missing" if missing else "all of its rows are there"
    return found, f"the {image.format} file ends early or is damaged near its end, {lost}: upload it again"


def _rescue(image: ImageFile.ImageFile, data: bytes) -> PillowImage.Image | None:
    """What there is of a picture; None where it cannot be told."""
    if image.format == "PNG" and not image.info.get("interlace"):
        # What was decoded before the end of the file is in the image already.
        image.tile = []
        return image
    if image.format == "JPEG" and image.mode in _FILLED_IN and _has_begun_every_scan(data):
        with contextlib.suppress(OSError):
            found = PillowImage.open(io.BytesIO(data + _JPEG_END), formats=("JPEG",))
            found.load()
            return found
    return None


def _count_missing(image: PillowImage.Image, is_jpeg: bool, most: int) -> int:
    """Rows that are missing at the bottom, counted no further than ``most``: of a JPEG those that are filled in where
    they end, as blocks go from left to right, of a PNG those that are empty."""
    rows = np.asarray(image.crop((0, image.height - min(most, image.height), *image.size)))
    value = _FILLED_IN[image.mode] if is_jpeg else 0
    ends = rows[:, -_BLOCK_PIXELS:] if is_jpeg else rows
    is_missing = (ends.reshape(len(rows), -1) == value).all(axis=1)[::-1]
    return len(rows) if is_missing.all() else int(np.argmin(is_missing))


def _has_begun_every_scan(data: bytes) -> bool:
    """Whether no scan is missing altogether: of a sequential JPEG there is one with all components; of a progressive
    one, each coefficient of each component has been sent to its last bit."""
    sent: dict[int, list[int]] = {}
    is_progressive, at = False, 2
    while (marker := _JPEG_MARKER.search(data, at)) is not None:
        kind, start = marker[1][0], marker.end()
        at = start + int.from_bytes(data[start : start + 2], "big")
        segment = data[start + 2 : at]
        if kind == _PROGRESSIVE or kind in _SEQUENTIAL:
            is_progressive = kind == _PROGRESSIVE
            sent = {component: [_NOT_SENT] * _COEFFICIENTS for component in segment[6::3]}
        elif kind == _SCAN and len(segment) >= 2 * segment[0] + 4:
            components = segment[1 : 2 * segment[0] : 2]
            if not is_progressive and len(components) == len(sent):
                return True
            first, last, bits = segment[-3:]
            for component in components:
                sent.setdefault(component, [])[first : last + 1] = [bits & 15] * (last + 1 - first)
    return is_progressive and bool(sent) and not any(bits for each in sent.values() for bits in each)
