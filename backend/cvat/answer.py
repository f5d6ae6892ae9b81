"""Masks -> the JSON that CVAT takes, built as bytes: a list of a frame's pixels takes Python more than a second."""

from __future__ import annotations

import json
import zlib

import numpy as np

from m2n2_engine.types import Mask

# Masks are long runs: higher levels take twice the time.
_GZIP_LEVEL = 1
_GZIP_FORMAT = 31
"""Zlib's window bits for a stream with gzip's header."""


_PAIR = np.dtype("<u2")
_PIXEL, _END_OF_ROW, _NEXT_ROW = np.frombuffer(b"0,0],[", _PAIR)


def render_mask(mask: Mask) -> bytes:
    """A bool (H, W) mask as ``{"mask": [[0 or 1, ...], ...]}``, all of the frame; without spaces."""
    height, width = mask.shape
    # Two characters at a time; adding True to a pair turns its 0 into 1.
    pairs = np.empty((height, width + 1), _PAIR)
    np.add(mask, _PIXEL, out=pairs[:, :-1])
    np.add(mask[:, -1], _END_OF_ROW, out=pairs[:, -2])
    pairs[:, -1] = _NEXT_ROW
    return b"".join((b'{"mask":[[', pairs.data.cast("B")[:-2], b"]}"))


def render_shapes(mask: Mask) -> bytes:
    """A bool (H, W) mask as ``{"shapes": [{"type": "mask", "points": [...]}]}`` with the points of `encode_points`."""
    return json.dumps({"shapes": [{"type": "mask", "points": encode_points(mask)}]}).encode()


def encode_points(mask: Mask) -> list[int]:
    """CVAT's run-length encoding of a bool (H, W) mask: the lengths of the runs in the box around it, row by row,
    beginning with a run of zeros, which may be of no length; then left, top, right and bottom of the box, the last two
    inclusive. Nothing found: the pixel in the upper left corner, not set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return [1, 0, 0, 0, 0]
    left, top, right, bottom = (int(edge) for edge in (columns[0], rows[0], columns[-1], rows[-1]))
    pixels = mask[top : bottom + 1, left : right + 1].ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    runs = np.diff(changes, prepend=0, append=pixels.size)
    return [*runs.tolist(), left, top, right, bottom]


def compress(body: bytes) -> bytes:
    """The body in gzip's format, at its fastest."""
    return zlib.compress(body, _GZIP_LEVEL, _GZIP_FORMAT)
