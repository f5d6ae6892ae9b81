"""Steps 4 to 7 of the clicks on one image, without leaving the device; only edges are found on the processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cuda.flood_fill import LEAST_WIDTH, flood_fill
from m2n2_engine.kernels.cuda.thresholds import DeviceRankedMap, decide_jointly, rank_map
from m2n2_engine.kernels.cuda.upsample import WindowUpsampler
from m2n2_engine.method.edge_map import EdgeMap, find_edges
from m2n2_engine.types import Mask

_CLICKS_AT_ONCE = 8
"""Filling takes some eight maps a click: 270 MB for eight at a megapixel."""


class DeviceClickMaps:
    """Maps as tensors; implements ``kernels.ClickMaps``."""

    def __init__(self, upsampler: WindowUpsampler, method: MethodConfig, least_width: int = LEAST_WIDTH) -> None:
        """least_width: of the kernel that fills maps, see ``flood_fill``."""
        self._upsampler = upsampler
        self._method = method
        self._least_width = least_width

    @property
    def nbytes(self) -> int:
        """As ``ClickMaps.nbytes``."""
        return self._upsampler.nbytes

    def find_edges(self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]) -> list[EdgeMap]:
        """As ``ClickMaps.find_edges``: corrections are made on the processor, and the maps for that are small."""
        return [
            find_edges(values.cpu().numpy(), pixel, self._method.edge_levels)
            for values, pixel in self._fill(coarse_maps, pixels)
        ]

    def rank(self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]) -> list[DeviceRankedMap]:
        """As ``ClickMaps.rank``."""
        # Copies: what is kept of one click must not keep the others.
        return [rank_map(values.clone(), pixel, self._method) for values, pixel in self._fill(coarse_maps, pixels)]

    def decide(self, ranked: Sequence[DeviceRankedMap], signs: Sequence[bool]) -> tuple[Mask, float]:
        """As ``ClickMaps.decide``."""
        return decide_jointly(ranked, signs, self._method)

    def _fill(
        self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[torch.Tensor, tuple[int, int]]]:
        """The Markov-map ``(H, W)`` of each click, 0..1, and its pixel."""
        for first in range(0, len(pixels), _CLICKS_AT_ONCE):
            some = slice(first, first + _CLICKS_AT_ONCE)
            maps = torch.stack([self._upsampler.apply(coarse) for coarse in coarse_maps[some]])
            filled = _normalise(flood_fill(_normalise(maps), pixels[some], least_width=self._least_width))
            yield from zip(filled, pixels[some], strict=True)


def _normalise(maps: torch.Tensor) -> torch.Tensor:
    """Each of ``(k, H, W)`` divided by its maximum; a map that is 0 everywhere stays 0."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest, maps)
