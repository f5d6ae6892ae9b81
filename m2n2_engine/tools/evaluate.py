"""``m2n2 evaluate``: how good one click is, on GrabCut's images."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import load_engine
from m2n2_engine.errors import InvalidImage
from m2n2_engine.tools.context import messages, output, read_image
from m2n2_engine.types import Click, Mask

_UNKNOWN = 128
"""GrabCut's grey level of the band around the object whose pixels nobody labelled."""


def evaluate_single_clicks(config: EngineConfig, folder: Path) -> None:
    """Print the mean IoU under both rules for the unknown band. folder: ``data_GT/`` and ``boundary_GT/``."""
    truths = sorted((folder / "boundary_GT").glob("*.png"))
    if not truths:
        raise InvalidImage(f"{folder} has no boundary_GT/*.png: give the folder that holds data_GT and boundary_GT")
    # Its figures are of images that were never seen before.
    engine = load_engine(dataclasses.replace(config, disk_cache_bytes=0))
    ious: list[tuple[float, float]] = []
    prepare_seconds, click_seconds = [], []
    for path in track(truths, "evaluating", console=messages, transient=True, disable=not messages.is_terminal):
        image = read_image(next((folder / "data_GT").glob(f"{path.stem}.*")))
        labels = read_image(path)[:, :, 0]
        x, y = deepest_pixel(labels > 0)
        answer = engine.segment(image, [Click(x, y)])
        everywhere, known = np.ones(labels.shape, bool), labels != _UNKNOWN
        ious.append((iou(answer.mask, labels > 0, everywhere), iou(answer.mask, labels > 0, known)))
        prepare_seconds.append(answer.timings.prepare_seconds)
        click_seconds.append(answer.timings.clicks_seconds)
    facts = engine.describe()
    counted, ignored = (statistics.mean(column) for column in zip(*ious, strict=True))
    output.print(
        f"{len(truths)} images, one click at the object's deepest pixel: mean IoU {counted:.4f} with the unknown band "
        f"counted as object, {ignored:.4f} with it ignored; {facts['backbone']}, grid {facts['grid']}, "
        f"{facts['device']}; medians: {statistics.median(prepare_seconds):.2f} s to prepare an image, "
        f"{statistics.median(click_seconds):.3f} s a click"
    )


def deepest_pixel(mask: Mask) -> tuple[int, int]:
    """``(x, y)`` of the pixel farthest from the mask's edge, the image's border counted as edge; the first in
    row-major order on ties. mask: bool (H, W), not empty."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def iou(mask: Mask, truth: Mask, where: Mask) -> float:
    """Intersection over union of two masks among the pixels ``where``; 1 where both are empty there."""
    union = ((mask | truth) & where).sum()
    return float((mask & truth & where).sum() / union) if union else 1.0
