"""What a TIFF stores: read from its tags, so that no kind of samples is taken for another. Numpy and Pillow only."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image as PillowImage
from PIL import TiffImagePlugin

from m2n2_engine.errors import InvalidImage
from m2n2_engine.image_file.samples import Grey, describe_grey

# Names of tags are those of TIFF 6.0.
_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 258, 259, 262
_BANDS, _PLANAR, _FORMAT, _NO_DATA = 277, 284, 339, 42113
_WHITE_IS_ZERO, _SEPARATE_PLANES, _BIG = 0, 2, 43
_UNSIGNED, _SIGNED, _REAL = 1, 2, 3
_FORMATS = {_UNSIGNED: "unsigned integers", _SIGNED: "signed integers", _REAL: "real numbers (float)"}
_READ = (
    "read are 1 band of 8, 16 or 32-bit integers or 32-bit floats, and 3 or 4 bands (RGB, RGBA, CMYK) of 8 or 16-bit "
    "integers beside each other"
)
_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a file: of either byte order, the last two of BigTIFF."""

Tags = Mapping[int, Any]


def describe_samples(image: PillowImage.Image) -> Grey | None:
    """How the samples of an opened file are stored; None where they are plain colours of 8 bits, or of 16 of which
    Pillow gives the upper ones.

    Raises InvalidImage for samples that Pillow would take for others.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return describe_grey(image)
    tags = image.tag_v2
    bits, bands, kind = _read_layout(tags)
    if bands > 1 and bits > 8 and tags.get(_PLANAR) == _SEPARATE_PLANES:
        raise InvalidImage(f"{_describe(tags)} in planes one after the other, which cannot be read: {_READ}")
    if image.mode == "LAB":
        raise InvalidImage(f"{_describe(tags)} in CIE L*a*b*, which cannot be read: save it as RGB")
    found = describe_grey(image)
    if kind == _SIGNED and image.mode == "L":
        found = Grey("", "i1")
    if found is None:
        return None
    dtype = "u4" if (kind, bits) == (_UNSIGNED, 32) else found.dtype
    is_negative = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    return Grey(f"{bits}-bit {_FORMATS[kind]}", dtype, is_negative, _read_no_data(tags))


def has_deep_colours(image: PillowImage.Image) -> bool:
    """Whether an opened TIFF has colours of more than 8 bits a band."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    bits, bands, _ = _read_layout(image.tag_v2)
    return bits > 8 and bands > 1


def describe_unread(data: bytes) -> str | None:
    """What a TIFF stores that Pillow does not open, as a message with its remedy; None where the bytes are no TIFF."""
    if not data.startswith(_HEADS):
        return None
    try:
        head = data[:16] if data[2] == _BIG else data[:8]
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        tags.load(_at(data, tags.next))
        found = _describe(tags) if _WIDTH in tags else None
    except Exception:  # Pillow's readers of tags share no base: SyntaxError, struct.error, KeyError, ...
        found = None
    if found is None:
        return "the TIFF is damaged or of an unusual kind: its tags cannot be read; export it again"
    return f"{found}, compression {tags.get(_COMPRESSION, 1)}, which cannot be read: {_READ}; save it so, or as PNG"


def _at(data: bytes, offset: int) -> io.BytesIO:
    file = io.BytesIO(data)
    file.seek(offset)
    return file


def _read_layout(tags: Tags) -> tuple[int, int, int]:
    """Bits of a sample, bands and kind of numbers."""
    bits, kinds = tags.get(_BITS, (1,)), tags.get(_FORMAT, (_UNSIGNED,))
    return max(bits), int(tags.get(_BANDS, 1)), kinds[0] if kinds[0] in _FORMATS else _UNSIGNED


def _describe(tags: Tags) -> str:
    bits, bands, kind = _read_layout(tags)
    return f"this TIFF has {bands} band{'s' if bands > 1 else ''} of {bits}-bit {_FORMATS[kind]}"


def _read_no_data(tags: Tags) -> float | None:
    """GDAL's tag for the value of pixels where nothing was measured."""
    with contextlib.suppress(ValueError, TypeError):
        return float(str(tags[_NO_DATA]).strip("\0 ")) if _NO_DATA in tags else None
    return None
