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


_CONFIDENCE = 0
"""Id of the attribute for it, as cvat_sdk's ``InteractionResultAttributes`` has it."""

_LEAST_CONFIDENCE = 0.5
"""Where the slider of CVAT's page stands."""

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


def render_shapes(mask: Mask, score: float) -> bytes:
    """A bool (H, W) mask and its score as ``{"shapes": [{"type": "mask", "points": [...], "attributes": [...]}]}``.

    The points are those of `encode_points`, the one attribute is the confidence of `find_confidence`.
    """
    confidence = {"spec_id": _CONFIDENCE, "value": f"{find_confidence(mask, score):.4f}"}
    return json.dumps(
        {"shapes": [{"type": "mask", "points": encode_points(mask), "attributes": [confidence]}]}
    ).encode()


def find_confidence(mask: Mask, score: float) -> float:
    """What CVAT is told of a mask: 0 where it is empty, else from 0.5 to 1 in the order of the scores (0 to 1).

    CVAT's page hides what is below the threshold of its slider, which stands at 0.5. The score ranks masks and is no
    probability, so that no mask that was found may be hidden before somebody moves that slider.
    """
    return _LEAST_CONFIDENCE + (1 - _LEAST_CONFIDENCE) * min(max(score, 0.0), 1.0) if mask.any() else 0.0


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
