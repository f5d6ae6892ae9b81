"""Which way up the pixels of an image file are: two rules, of those who show them."""

from __future__ import annotations

import enum

from PIL import ExifTags
from PIL import Image as PillowImage


class Orientation(enum.Enum):
    """Whose rule says how stored pixels are turned.

    FILE: whatever the file has, in this order: EXIF, ImageMagick's raw profile of EXIF, XMP. It is the rule of Pillow,
    and so of CVAT, whose server opens its frames with it.
    PAGE: EXIF of AVIF, JPEG, PNG and TIFF, and nothing else, as Label Studio's page shows them. A browser turns no WebP
    and knows neither XMP nor raw profiles; an AVIF says it in properties of its own, which Pillow gives as EXIF.
    """

    FILE = 0
    PAGE = 1


_PAGE_FORMATS = ("AVIF", "JPEG", "MPO", "PNG", "TIFF")
_NOT_FOR_PAGES = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Where Pillow looks for an orientation, beside EXIF."""

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


def forget_orientation(image: PillowImage.Image, rule: Orientation) -> None:
    """Take from an image what the rule does not look at. To be called before its pixels are loaded, as Pillow turns a
    TIFF while it loads it, and once more after that, as a PNG may have its texts behind its pixels."""
    if rule is Orientation.FILE:
        return
    for name in _NOT_FOR_PAGES:
        image.info.pop(name, None)
    if image.format not in _PAGE_FORMATS:
        image.info.pop("exif", None)


def turn_upright(image: PillowImage.Image) -> PillowImage.Image:
    """The pixels of a loaded image as its orientation says."""
    turn = _TURNS.get(_read_orientation(image))
    return image if turn is None else image.transpose(turn)


def _read_orientation(image: PillowImage.Image) -> int:
    """The EXIF orientation; 1 where there is none, or none that can be read: the pixels are sound all the same."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's readers of EXIF share no base: SyntaxError, struct.error, TypeError, ...
        return 1
