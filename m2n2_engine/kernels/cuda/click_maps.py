"""Steps 4 and 5 without leaving the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.kernels.click_maps import Measure
from m2n2_engine.kernels.cuda.flood_fill import flood_fill
from m2n2_engine.kernels.cuda.upsample import WindowUpsampler

_CLICKS_AT_ONCE = 8
"""Filling takes some eight maps a click: 270 MB for eight at a megapixel."""


class DeviceClickMaps:
    """Maps as tensors; implements ``m2n2_engine.kernels.click_maps.ClickMaps``."""

    def __init__(self, upsampler: WindowUpsampler) -> None:
        self._upsampler = upsampler

    def measure(
        self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]], measure: Measure
    ) -> list[Any]:
        """As ``ClickMaps.measure``."""
        measured = []
        for first in range(0, len(pixels), _CLICKS_AT_ONCE):
            some = slice(first, first + _CLICKS_AT_ONCE)
            maps = torch.stack([self._upsampler.apply_on_device(coarse) for coarse in coarse_maps[some]])
            filled = _normalise(flood_fill(_normalise(maps), pixels[some]))
            # Copies: what is kept of one click must not keep the others.
            measured += [measure(values.clone(), pixel) for values, pixel in zip(filled, pixels[some], strict=True)]
        return measured


def _normalise(maps: torch.Tensor) -> torch.Tensor:
    """Each of ``(k, H, W)`` divided by its maximum; a map that is 0 everywhere stays 0."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest, maps)
