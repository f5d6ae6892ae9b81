"""One image resident on the device: its transition matrix, its upsampling weights and the maps of its clicks."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import Decision, MethodConfig
from m2n2_engine.kernels import Kernels
from m2n2_engine.method.chain import build_start_state
from m2n2_engine.method.correction import StepwiseDecider
from m2n2_engine.session.box import exclude_outside, find_seeds, surround
from m2n2_engine.types import Box, Click, Image, Mask

_Measure = Callable[[npt.NDArray[np.float32], Sequence[tuple[int, int]]], Sequence[Any]]
"""``ClickMaps.find_edges`` or ``ClickMaps.rank``."""

_MapKey = tuple[bool, tuple[float, float]]
"""Whether it is for a joint decision, and the point (x, y)."""


def session_bytes(image_size: tuple[int, int], cells: int, method: MethodConfig, kernels: Kernels) -> int:
    """Room a session takes before its first click, in bytes.

    Args:
        image_size: ``(H, W)`` of the full-size image.
        cells: ``h * w`` of its attention's grid.
        method: working size and upsampling.
        kernels: of the device that the session will be on.
    """
    working_size = reduced_size(image_size, method.working_size_pixels)
    return cells**2 * kernels.matrix_dtype.itemsize + kernels.click_maps_bytes(working_size, method)


def reduced_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """``(H, W)`` scaled so that the longer of them is at most ``longest_side`` pixels; 0 means no cap."""
    scale = longest_side / max(size)
    if not longest_side or scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def reduce_image(image: Image, longest_side: int) -> Image:
    """The image at its reduced size, by area averaging; the same array where that is its own size."""
    height, width = reduced_size((image.shape[0], image.shape[1]), longest_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class Session:
    """Answers clicks on one image. Safe under threads; clicks of one session wait for each other."""

    def __init__(
        self, image: Image, transition: torch.Tensor, kernels: Kernels, method: MethodConfig, click_maps_bytes: int
    ) -> None:
        """Prepare an image for clicks.

        Args:
            image: RGB uint8 ``(H, W, 3)``; not kept.
            transition: ``(h, w, h, w)``, as ``kernels`` make it; kept.
            kernels: of the device that the transition matrix is on.
            method: all constants.
            click_maps_bytes: budget of the maps of clicks, in bytes.
        """
        self._method = method
        self._kernels = kernels
        self._image_size = (image.shape[0], image.shape[1])
        self._grid = (transition.shape[0], transition.shape[1])
        cells = self._grid[0] * self._grid[1]
        self._transition = transition.reshape(cells, cells)
        working_image = _freeze(reduce_image(image, method.working_size_pixels))
        self._working_size = (working_image.shape[0], working_image.shape[1])
        # Needed on the way back to full size; the caller's own array may change later and is not kept.
        self._reduced = None if self._working_size == self._image_size else working_image
        self._click_maps = kernels.build_click_maps(working_image, self._grid, method)
        self._stepwise: StepwiseDecider | None = None
        if method.decision is Decision.STEPWISE:
            cell_pixels = max(pixels / cells for pixels, cells in zip(self._working_size, self._grid, strict=True))
            self._stepwise = StepwiseDecider(working_image, cell_pixels, method)
        self._click_maps_bytes = click_maps_bytes
        self._maps: collections.OrderedDict[_MapKey, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory held now, in bytes; grows with the clicks."""
        reduced_bytes = 0 if self._reduced is None else self._reduced.nbytes
        stepwise_bytes = 0 if self._stepwise is None else self._stepwise.nbytes
        kept_bytes = self._click_maps.nbytes + reduced_bytes + stepwise_bytes
        return self._transition.nbytes + kept_bytes + self._used_map_bytes()

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> tuple[Mask, float]:
        """The mask of the object that the clicks and the box describe.

        Args:
            image: the session's own, full size.
            clicks: at least one positive, unless there is a box.
            box: where no click is positive, its seeds take their place. Nothing outside of it is in the mask.

        Returns:
            Mask bool ``(H, W)`` and score, 0 to 1.
        """
        with self._lock:
            if box is not None:
                clicks = [*clicks, *self._find_box_clicks(clicks, box)]
            # The clicks that stand for a box come all at once: no one of them corrects another.
            mask, score = self._decide(clicks, is_joint=box is not None or self._stepwise is None)
        if self._reduced is not None:
            mask = self._kernels.restore_mask(mask, self._reduced, _freeze(image), self._method.range_sigma)
        for click in clicks:
            x, y = self._to_pixel(click.x, click.y, self._image_size)
            mask[y, x] = click.positive
        return mask if box is None else exclude_outside(mask, box), score

    def _find_box_clicks(self, clicks: Sequence[Click], box: Box) -> list[Click]:
        """What a box says beside the clicks."""
        around = surround(box, self._image_size, self._method)
        if any(click.positive for click in clicks):
            return around
        return [*find_seeds(box, self._image_size, self._grid, self._walk, self._method), *around]

    def _decide(self, clicks: Sequence[Click], is_joint: bool) -> tuple[Mask, float]:
        points = [(click.x, click.y) for click in clicks]
        if self._stepwise is None or is_joint:
            signs = [click.positive for click in clicks]
            return self._click_maps.decide(self._find_maps(points, self._click_maps.rank, True), signs)
        return self._stepwise.decide(clicks, self._find_maps(points, self._click_maps.find_edges, False))

    def _find_maps(self, points: list[tuple[float, float]], measure: _Measure, is_joint: bool) -> list[Any]:
        """What is measured in the maps of these points, computing those not seen before together."""
        # By the exact point, not its pixel: the walk starts from the fraction, and an answer must not depend on who
        # clicked nearby before.
        keys = [(is_joint, point) for point in points]
        missing = [key for key in dict.fromkeys(keys) if key not in self._maps]
        if missing:
            self._maps.update(zip(missing, self._build_maps([point for _, point in missing], measure), strict=True))
        for key in keys:
            self._maps.move_to_end(key)
        maps = [self._maps[key] for key in keys]
        while self._used_map_bytes() > self._click_maps_bytes and len(self._maps) > 1:
            self._maps.popitem(last=False)
        return maps

    def _build_maps(self, points: list[tuple[float, float]], measure: _Measure) -> Sequence[Any]:
        starts = np.stack([build_start_state(point, self._image_size, self._grid) for point in points])
        return measure(self._walk(starts), [self._to_pixel(*point, self._working_size) for point in points])

    def _walk(self, start_states: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._kernels.build_coarse_maps(self._transition, start_states, self._method)

    def _to_pixel(self, x: float, y: float, size: tuple[int, ...]) -> tuple[int, int]:
        """The pixel ``(x, y)`` of an image of ``size`` (H, W) under a point of the full-size image."""
        height, width = self._image_size
        return min(int(x * (size[1] / width)), size[1] - 1), min(int(y * (size[0] / height)), size[0] - 1)

    def _used_map_bytes(self) -> int:
        return sum(measured.nbytes for measured in list(self._maps.values()))


def _freeze(image: Image) -> Image:
    """A view that nobody can write to: kernels are compiled for one kind of image alone, whatever callers have."""
    view = image.view()
    view.setflags(write=False)
    return view
