"""The Markov-maps of points on one image, kept until their memory is wanted for others."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels import Kernels
from m2n2_engine.method.chain import build_start_state

Point = tuple[float, float]
"""A place (x, y) in pixels of the full-size image."""

Measure = Callable[[npt.NDArray[np.float32], Sequence[tuple[int, int]]], Sequence[Any]]
"""``ClickMaps.find_edges`` or ``ClickMaps.rank``."""


class PointMaps:
    """What is measured in the map of each point. Not safe under threads, but for ``nbytes``."""

    def __init__(
        self,
        transition: torch.Tensor,
        kernels: Kernels,
        method: MethodConfig,
        image_size: tuple[int, int],
        working_size: tuple[int, int],
        measure: Measure,
        budget_bytes: int,
    ) -> None:
        """Nothing is computed yet.

        Args:
            transition: ``(h, w, h, w)``, as ``kernels`` make it; kept.
            kernels: of the device that it is on.
            method: constants of the walk.
            image_size: ``(H, W)`` of the full-size image.
            working_size: ``(H, W)`` of the maps.
            measure: what is kept of a map.
            budget_bytes: of all that is kept; the last one is kept in any case.
        """
        self._grid = (transition.shape[0], transition.shape[1])
        cells = self._grid[0] * self._grid[1]
        self._transition = transition.reshape(cells, cells)
        self._kernels = kernels
        self._method = method
        self._image_size = image_size
        self._working_size = working_size
        self._measure = measure
        self._budget_bytes = budget_bytes
        self._maps: collections.OrderedDict[Point, Any] = collections.OrderedDict()

    @property
    def transition(self) -> torch.Tensor:
        """``(h * w, h * w)``, on the device."""
        return self._transition

    @property
    def nbytes(self) -> int:
        """Memory of the matrix and of all that is kept, in bytes."""
        return self._transition.nbytes + self._used_bytes()

    def find(self, points: Sequence[Point]) -> list[Any]:
        """What is measured in the maps of these points, computing those not seen before together."""
        # By the exact point, not its pixel: the walk starts from the fraction, and an answer must not depend on who
        # clicked nearby before.
        missing = [point for point in dict.fromkeys(points) if point not in self._maps]
        if missing:
            self._maps.update(zip(missing, self._build(missing), strict=True))
        for point in points:
            self._maps.move_to_end(point)
        found = [self._maps[point] for point in points]
        while self._used_bytes() > self._budget_bytes and len(self._maps) > 1:
            self._maps.popitem(last=False)
        return found

    def walk(self, start_states: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The coarse maps ``(n, h, w)`` of walks that start from ``(n, h, w)``."""
        return self._kernels.build_coarse_maps(self._transition, start_states, self._method)

    def _build(self, points: Sequence[Point]) -> Sequence[Any]:
        starts = np.stack([build_start_state(point, self._image_size, self._grid) for point in points])
        return self._measure(self.walk(starts), [self._to_pixel(*point) for point in points])

    def _to_pixel(self, x: float, y: float) -> tuple[int, int]:
        """The pixel ``(x, y)`` of the maps under a point of the full-size image."""
        (height, width), (rows, columns) = self._image_size, self._working_size
        return min(int(x * (columns / width)), columns - 1), min(int(y * (rows / height)), rows - 1)

    def _used_bytes(self) -> int:
        return sum(measured.nbytes for measured in list(self._maps.values()))
