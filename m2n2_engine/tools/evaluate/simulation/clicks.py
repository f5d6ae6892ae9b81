"""The simulated annotator: where the next click goes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from m2n2_engine.tools.evaluate.options import ClicksAt, Options, Rule
from m2n2_engine.tools.evaluate.refinement import Name
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Click, Map, Mask

INNER_DEPTH = 0.3
"""An inner pixel is at least this share as deep as the deepest: people click well inside of what is wrong, but not at
its centre. Here: a guess, not a measurement of people."""

_DEPTH_TOLERANCE = 1e-4
"""In pixels. Depths are float32, and one at the very limit counts."""

Place = Callable[[Map], tuple[int, int]]
"""Depth float32 (H, W) of what can be clicked, 0 elsewhere -> the pixel (x, y) to click. One is above 0."""


def next_click(
    rule: Rule, mask: Mask, truth: Truth, clicks: Sequence[Click], place: Place | None = None
) -> Click | None:
    """The click that follows on ``mask``, at a whole pixel; it is positive where the truth is object.

    mask: bool (H, W), what is segmented so far; empty before the first click. clicks: all before. place: chooses among
    the pixels that the rule allows; None takes the deepest. Where nothing is wrong, the click goes inside the object.
    None where RITM's rule has clicked all that it could.
    """
    wrong = (mask ^ truth.pixels) & truth.known
    if rule is Rule.M2N2:
        depth = measure_depth(wrong if wrong.any() else truth.pixels)
    else:
        depth = _measure_unclicked(wrong, truth, clicks)
    if not depth.any():
        return None
    x, y = (place or find_centre)(depth)
    return Click(float(x), float(y), positive=bool(truth.pixels[y, x]))


def choose_place(options: Options, name: Name) -> Place:
    """Where clicks fall on one object under these options. Draws depend on its name, band, flip and the seed alone, so
    that neither other objects nor the number of jobs change them."""
    if options.clicks_at is ClicksAt.CENTRE:
        return find_centre
    words = [*name] if options.clicks_at is ClicksAt.INNER else [*name, str(options.seed)]
    digest = hashlib.sha256("\n".join(words).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return lambda depth: draw_inner(depth, rng)


def find_centre(depth: Map) -> tuple[int, int]:
    """The deepest pixel (x, y), the first of equal ones."""
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def draw_inner(depth: Map, rng: np.random.Generator) -> tuple[int, int]:
    """A pixel (x, y) of the 4-connected part with the deepest one: any of those at least ``INNER_DEPTH`` as deep, each
    as likely."""
    x, y = find_centre(depth)
    _, parts = cv2.connectedComponents((depth > 0).astype(np.uint8), connectivity=4)
    inner = (parts == parts[y, x]) & (depth >= INNER_DEPTH * float(depth[y, x]) - _DEPTH_TOLERANCE)
    rows, columns = np.nonzero(inner)
    drawn = int(rng.integers(len(rows)))
    return int(columns[drawn]), int(rows[drawn])


def measure_depth(mask: Mask) -> Map:
    """Euclidean distance of each pixel of a bool (H, W) mask to the nearest pixel outside of it, in pixels; what lies
    beyond the image's border is outside. 0 outside of the mask."""
    padded = np.pad(mask, 1).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.ascontiguousarray(depth[1:-1, 1:-1], np.float32)


def _measure_unclicked(wrong: Mask, truth: Truth, clicks: Sequence[Click]) -> Map:
    """The deeper of the two error maps, or the object's depth where both are empty; 0 at all clicks before.

    Of two equally deep ones, the false positives, as in RITM's own evaluation.
    """
    maps = [measure_depth(wrong & ~truth.pixels), measure_depth(wrong & truth.pixels)]
    for depth in maps:
        _clear_clicks(depth, clicks)
    deeper = max(maps, key=np.max)
    if deeper.any():
        return deeper
    depth = measure_depth(truth.pixels)
    _clear_clicks(depth, clicks)
    return depth


def _clear_clicks(depth: Map, clicks: Sequence[Click]) -> None:
    for click in clicks:
        depth[int(click.y), int(click.x)] = 0
