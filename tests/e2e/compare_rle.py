"""Our brush RLE beside that of Label Studio's own SDK: the same bytes, and how much sooner.

A script for Label Studio's Python with the repository on its path; it needs numpy and label_studio_sdk alone. Writes an
object of JSON: masks, identical (counts), ours_seconds, sdk_seconds (medians at 12 megapixels), ratio.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from label_studio_sdk.converter.brush import mask2rle

from backend.label_studio import brush_rle

_Mask = npt.NDArray[np.bool_]

_MASKS = 1000
_LONGEST_SIDE = 160
_TWELVE_MEGAPIXELS = (3000, 4000)
_RAGGED_PIXELS = 60
_ROUNDS = 5


def main() -> None:
    """Compare, measure, write it down."""
    random = np.random.default_rng(0)
    identical = sum(brush_rle.encode(mask) == _encode_with_sdk(mask) for mask in _draw_masks(random))
    ours, sdks = _measure(_draw_ragged_disc(random))
    result = {
        "masks": _MASKS,
        "identical": identical,
        "ours_seconds": round(ours, 4),
        "sdk_seconds": round(sdks, 4),
        "ratio": round(sdks / ours, 1),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _encode_with_sdk(mask: _Mask) -> list[int]:
    return list(mask2rle(mask.astype(np.uint8) * 255))


def _draw_masks(random: np.random.Generator) -> Iterator[_Mask]:
    """Every kind in turn, each at a random size."""
    kinds: tuple[Callable[[np.random.Generator, tuple[int, int]], _Mask], ...] = (
        _draw_noise,
        _draw_blobs,
        _draw_blobs,
        lambda random, shape: _draw_noise(random, (1, shape[0] * shape[1])),
        lambda random, shape: _draw_blobs(random, (shape[0] * shape[1], 1)),
        lambda random, shape: np.full(shape, random.random() < 0.5),
    )
    for number in range(_MASKS):
        height, width = random.integers(1, _LONGEST_SIDE, 2, endpoint=True).tolist()
        yield kinds[number % len(kinds)](random, (height, width))


def _draw_noise(random: np.random.Generator, shape: tuple[int, int]) -> _Mask:
    """Pixels of their own, as dense as chance wants it."""
    return random.random(shape) < random.random()


def _draw_blobs(random: np.random.Generator, shape: tuple[int, int]) -> _Mask:
    """Smooth: where a sum of slow waves is high."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    waves = np.zeros(shape)
    for across, down, phase in random.uniform(0, 2 * np.pi, (6, 3)):
        waves += np.sin((across * columns + down * rows) / 40 + phase)
    return waves > random.uniform(-3, 3)


def _draw_ragged_disc(random: np.random.Generator) -> _Mask:
    """A disc of 12 megapixels whose edge frays pixel by pixel."""
    height, width = _TWELVE_MEGAPIXELS
    rows, columns = np.ogrid[:height, :width]
    distances = np.hypot(rows - height / 2, columns - width / 2)
    return distances + random.normal(0, _RAGGED_PIXELS, _TWELVE_MEGAPIXELS) < height / 3


def _measure(mask: _Mask) -> tuple[float, float]:
    """Median seconds of ours and of the SDK's, taken in turn."""
    ours, sdks = [], []
    for _ in range(_ROUNDS):
        ours.append(_time(brush_rle.encode, mask))
        sdks.append(_time(_encode_with_sdk, mask))
    return statistics.median(ours), statistics.median(sdks)


def _time(encode: Callable[[_Mask], list[int]], mask: _Mask) -> float:
    start = time.perf_counter()
    encode(mask)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
