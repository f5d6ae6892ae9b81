"""The simulated annotator: where the next click goes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from m2n2_engine.tools.evaluate.options import Rule
from m2n2_engine.tools.evaluate.truth import Truth
from m2n2_engine.types import Click, Map, Mask


def next_click(rule: Rule, mask: Mask, truth: Truth, clicks: Sequence[Click]) -> Click | None:
    """The click that follows on ``mask``, at a whole pixel; it is positive where the truth is object.

    mask: bool (H, W), what is segmented so far; empty before the first click. clicks: all before. Where nothing is
    wrong, the click goes to the pixel deepest inside the object. None where RITM's rule has clicked all that it could.
    """
    wrong = (mask ^ truth.pixels) & truth.known
    if rule is Rule.M2N2:
        depth = measure_depth(wrong if wrong.any() else truth.pixels)
    else:
        depth = _measure_unclicked(wrong, truth, clicks)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if not depth[y, x]:
        return None
    return Click(float(x), float(y), positive=bool(truth.pixels[y, x]))


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
