"""The rule of values: what samples that are not of 8 bits become in a picture of 8 bits. Numpy and Pillow only.

Instruments write what they measure: 10, 12 or 14 bits in 16, signed numbers, real numbers of any range. So one band of
such samples is looked at first. Where its values fill a range that is in use for pictures, the ends of that range are
black and white. Else the lowest value is black and the highest white.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from m2n2_engine.errors import InvalidImage
from m2n2_engine.types import Image

Values = npt.NDArray[Any]

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_FLOAT_WHITES = (1.0, 255.0, 65535.0)
_INTEGER_WHITES = tuple(float(2**bits - 1) for bits in range(8, 33))
"""The largest values of ranges in use: of so many bits; real numbers are shares, or values of 8 or 16 bits. Here."""

_LEAST_SHARE = 0.5
"""Of a range that values must span to be taken for its values. Here: an integer range is at most twice too large."""

_VALUES_A_STRAY = 10_000
"""Of so many values, one at each end of the range is not looked at. Here: dead pixels of a sensor are fewer."""

_LOOKED_AT_PIXELS = 4_000_000
"""For the ends of the range, evenly over the picture. Here: as good as all of them, and takes a tenth of a second."""

_TWO_BYTES = 2
_LEAST_LEVELS = 32
"""Of 8-bit colours that come from 16 bits. Here: fewer show bands; 12 bits in 16 would have 16."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grey:
    """How the samples of a grey picture are stored.

    kind: what they are, for messages. dtype: how their bytes are read; None: as Pillow gives them. is_negative: the
    lowest value is white. no_data: value of pixels where nothing was measured, which become black.
    """

    kind: str
    dtype: str | None = None
    is_negative: bool = False
    no_data: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """black, white: the values that become 0 and 255; those beyond become the nearer one."""

    black: float
    white: float


def describe_grey(image: PillowImage.Image) -> Grey | None:
    """How the samples of a picture without a TIFF's tags are stored; None where they are plain colours of 8 bits."""
    if image.mode in _SIXTEEN_BIT_MODES:
        return Grey("16-bit unsigned integers")
    return {"I": Grey("32-bit signed integers"), "F": Grey("32-bit real numbers")}.get(image.mode)


def find_scale(image: PillowImage.Image, grey: Grey) -> Scale:
    """What is black and white in a grey picture. Raises InvalidImage where no sample has a value."""
    values = _read_values(image, grey)
    step = math.ceil(math.sqrt(values.size / _LOOKED_AT_PIXELS))
    values = values[::step, ::step]
    values = values[_find_measured(values, grey)]
    if not values.size:
        raise InvalidImage(f"the one band of {grey.kind} has no value in any pixel: export it again")
    strays = values.size // _VALUES_A_STRAY
    ordered = np.partition(values, (strays, values.size - 1 - strays))
    scale = choose_scale(float(ordered[strays]), float(ordered[-1 - strays]), values.dtype.kind == "f")
    return Scale(scale.white, scale.black) if grey.is_negative else scale


def choose_scale(low: float, high: float, is_real: bool) -> Scale:
    """The scale of values between low and high.

    The first range from 0 that holds them, of ``_INTEGER_WHITES`` or ``_FLOAT_WHITES``, if they span at least half of
    it or are all the same; else from low to high.
    """
    white = next((white for white in (_FLOAT_WHITES if is_real else _INTEGER_WHITES) if high <= white), None)
    if white is not None and low >= 0 and (low == high or high - low >= _LEAST_SHARE * white):
        return Scale(0.0, white)
    return Scale(low, high)


def render_grey(image: PillowImage.Image, grey: Grey, scale: Scale) -> Image:
    """A grey picture of mode I, F, L or 16 bits as RGB uint8 ``(H, W, 3)`` by a scale."""
    values = _read_values(image, grey)
    if values.dtype.itemsize == _TWO_BYTES:
        # Looked up: most of these pictures are large.
        shades = _shade(np.arange(2**16, dtype=np.uint16), scale)[values]
    else:
        shades = _shade(values, scale)
    if grey.no_data is not None or values.dtype.kind == "f":
        shades[~_find_measured(values, grey)] = 0
    pixels = np.empty((*shades.shape, 3), np.uint8)
    pixels[:] = shades[:, :, None]
    return pixels


def _shade(values: Values, scale: Scale) -> npt.NDArray[np.uint8]:
    """Values of any shape as 0 to 255; anything where a value is none."""
    if scale.white == scale.black:
        return np.zeros(values.shape, np.uint8)
    shades = np.subtract(values, scale.black, dtype=np.float64)
    shades *= 255 / (scale.white - scale.black)
    with np.errstate(invalid="ignore"):
        np.clip(shades, 0, 255, out=shades)
        return np.rint(shades, out=shades).astype(np.uint8)


def check_levels(image: PillowImage.Image, kind: str) -> None:
    """Raise InvalidImage where a loaded picture, of the upper 8 bits of colours of 16, has too few levels left.

    kind: of file, for the message.
    """
    bands = {"LA": 1, "RGB": 3, "RGBA": 3, "RGBa": 3}.get(image.mode)
    if bands is None:
        return
    pixels_brighter = np.sum(np.reshape(image.histogram()[: bands * 256], (bands, 256)), axis=0)[::-1].cumsum()
    levels = 256 - int(np.argmax(pixels_brighter > pixels_brighter[-1] // _VALUES_A_STRAY))
    if levels < _LEAST_LEVELS:
        raise InvalidImage(
            f"this {kind} has {bands} colour band{'s' if bands > 1 else ''} of 16-bit unsigned integers, but their "
            f"values leave {levels} of 256 levels: multiply them so that they reach 65535, or save 8 bits a band"
        )


def _read_values(image: PillowImage.Image, grey: Grey) -> Values:
    values = np.asarray(image)
    return values if grey.dtype is None else values.view(grey.dtype)


def _find_measured(values: Values, grey: Grey) -> npt.NDArray[np.bool_]:
    """Where a value is one: no NaN, not infinite, and not the value for nothing."""
    measured: npt.NDArray[np.bool_] = np.isfinite(values)
    if grey.no_data is not None:
        measured &= values != grey.no_data
    return measured
