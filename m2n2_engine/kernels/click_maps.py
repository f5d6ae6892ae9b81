"""Steps 4 and 5 of several clicks, and what a decider measures in each map: one class for each place of the maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from m2n2_engine.kernels.cpu.compiled import run_in_bands
from m2n2_engine.kernels.cpu.flood_fill import flood_fill, normalise
from m2n2_engine.kernels.cpu.upsample import Upsampler

Measure = Callable[[Any, tuple[int, int]], Any]
"""``Decider.measure``: a click's Markov-map ``(H, W)`` where the maps are, and its pixel (x, y) -> what is kept."""


class ClickMaps(Protocol):
    """Brings coarse maps to the image's resolution and fills them from their clicks."""

    def measure(
        self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]], measure: Measure
    ) -> list[Any]:
        """``(k, h, w)`` coarse maps of clicks at ``pixels`` -> what ``measure`` says of each Markov-map."""


def build_click_maps(upsampler: Upsampler, *, on_device: bool) -> ClickMaps:
    """Those of an image. on_device: the kernels are fused, and a decider wants tensors."""
    if on_device:
        # Triton is not everywhere.
        from m2n2_engine.kernels.cuda.click_maps import DeviceClickMaps
        from m2n2_engine.kernels.cuda.upsample import WindowUpsampler

        return DeviceClickMaps(cast(WindowUpsampler, upsampler))
    return ProcessorClickMaps(upsampler)


class ProcessorClickMaps:
    """Maps as numpy arrays, in memory."""

    def __init__(self, upsampler: Upsampler) -> None:
        self._upsampler = upsampler

    def measure(
        self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]], measure: Measure
    ) -> list[Any]:
        """As ``ClickMaps.measure``."""
        upsampled = [normalise(self._upsampler.apply(coarse)) for coarse in coarse_maps]
        measured: list[Any] = [None] * len(pixels)

        def fill(start: int, stop: int) -> None:
            for index in range(start, stop):
                values = normalise(flood_fill(upsampled[index], pixels[index]))
                measured[index] = measure(values, pixels[index])

        # What is left of a click runs on one thread, so several clicks run side by side.
        run_in_bands(fill, len(pixels))
        return measured
