"""Masks -> the JSON that CVAT takes, built as bytes: a list of a frame's pixels takes Python more than a second."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from backend.errors import InvalidRequest
from m2n2_engine.types import Mask, Proposal

# Masks are long runs: higher levels take twice the time.
_GZIP_LEVEL = 1
_GZIP_FORMAT = 31
"""Zlib's window bits for a stream with gzip's header."""


_CONFIDENCE = 0
"""Id of the attribute for it, as cvat_sdk's ``InteractionResultAttributes`` has it."""

_LEAST_CONFIDENCE = 0.5
"""Where the slider of CVAT's page stands."""

_CONFIDENCE_DIGITS = 4

_OUTLINE_PIXELS = 1.0
"""How far an outline may be from the mask's. Here: as M2N2_POLYGON_TOLERANCE_PIXELS by default."""

_FEWEST_VERTICES = 3

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


def decode_points(points: Sequence[int], size: tuple[int, int]) -> Mask:
    """The bool mask of a frame of ``(H, W)`` from CVAT's run lengths, see `encode_points`.

    Raises InvalidRequest where the box does not lie in the frame or the runs do not fill it.
    """
    *runs, left, top, right, bottom = points
    height, width = size
    if not (left <= right < width and top <= bottom < height):
        raise InvalidRequest(
            f"a mask with the box {left}, {top}, {right}, {bottom} is none of a frame {width} x {height}"
        )
    box = bottom - top + 1, right - left + 1
    if sum(runs) != box[0] * box[1]:
        raise InvalidRequest(f"the runs of a mask are {sum(runs)} pixels long, but its box has {box[0] * box[1]}")
    mask = np.zeros(size, np.bool_)
    mask[top : bottom + 1, left : right + 1] = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(box)
    return mask


def trace_outlines(mask: Mask) -> list[list[float]]:
    """The outlines of the pieces of a bool (H, W) mask as CVAT's polygons, x and y in turn; holes are filled, and what
    has no area is left out."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    simple = (cv2.approxPolyDP(contour, _OUTLINE_PIXELS, closed=True)[:, 0] for contour in contours)
    return [[float(value) + 0.5 for value in outline.ravel()] for outline in simple if len(outline) >= _FEWEST_VERTICES]


def render_proposals(found: Sequence[Proposal], *, polygons: bool) -> bytes:
    """Proposals as ``{"shapes": [{"type", "label", "confidence", "points"}]}``, the surest first."""
    shapes = []
    for one in found:
        fields = {"label": one.label, "confidence": round(one.score, _CONFIDENCE_DIGITS)}
        if polygons:
            shapes += [{"type": "polygon", **fields, "points": points} for points in trace_outlines(one.mask)]
        else:
            shapes.append({"type": "mask", **fields, "points": encode_points(one.mask)})
    return json.dumps({"shapes": shapes}).encode()


def compress(body: bytes) -> bytes:
    """The body in gzip's format, at its fastest."""
    return zlib.compress(body, _GZIP_LEVEL, _GZIP_FORMAT)
