"""Masks as Label Studio's BitmaskLabels saves them: a PNG in a ``data:`` URL, black where the mask is and transparent
where it is not.

The page (1.23.2) shows the fourth channel, alpha, in the colour of the label, and saves the first three as black. All
four are written, 8 bits each, as by the page: what an annotator accepts is saved as it was answered, and whoever reads
an export finds one format.

The file is written here, some rows at a time: four bytes a pixel of a large image, all at once, are more memory than
the image itself.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from m2n2_engine.types import Mask

_HEAD = "data:image/png;base64,"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = 4
_BITS, _RGBA, _UP_FILTER = 8, 6, 2
"""Bits a sample, kind of pixels, and the filter of a row: what is written is its difference to the row above, which is
nothing but for the mask's border."""

_BLOCK_BYTES = 1024 * 1024
"""Of the rows in hand. Here: neither time nor size of the file gain from more."""


def encode(mask: Mask) -> str:
    """The ``data:`` URL of a bool ``(H, W)`` mask of at least one pixel."""
    height, width = mask.shape
    # Runs of one byte are all that there is to find; it takes as long as OpenCV's writer, for files of the same size.
    stream = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    packed = [stream.compress(rows) for rows in _filter_rows(mask)]
    file = (
        _SIGNATURE
        + _build_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, _BITS, _RGBA, 0, 0, 0))
        + _build_chunk(b"IDAT", b"".join([*packed, stream.flush()]))
        + _build_chunk(b"IEND", b"")
    )
    return _HEAD + base64.b64encode(file).decode("ascii")


def _filter_rows(mask: Mask) -> Iterator[bytes]:
    """The file's rows, filtered, in blocks: a byte for the filter, then black and alpha of each pixel."""
    height, width = mask.shape
    above = np.zeros((1, width), np.uint8)
    step = max(1, _BLOCK_BYTES // (_CHANNELS * width))
    for start in range(0, height, step):
        alpha = mask[start : start + step] * np.uint8(255)
        rows = np.zeros((len(alpha), 1 + _CHANNELS * width), np.uint8)
        rows[:, 0] = _UP_FILTER
        rows[:, _CHANNELS::_CHANNELS] = np.diff(alpha, axis=0, prepend=above)
        above = alpha[-1:]
        yield rows.tobytes()


def _build_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
