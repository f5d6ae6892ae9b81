"""The images that are measured: drawn, or a photograph brought to each size."""

from __future__ import annotations

import cv2
import numpy as np

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Image

Size = tuple[int, int]
"""(W, H) in pixels."""

_SEED = 7


def parse_size(text: str) -> Size:
    """``WxH`` -> (W, H) pixels."""
    try:
        width, height = (int(part) for part in text.strip().lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise ConfigurationError(f"{text!r} is no size: write WxH in pixels, for example 640x480")
    return width, height


def parse_sizes(text: str) -> list[Size]:
    """``WxH,WxH`` -> sizes."""
    return [parse_size(part) for part in text.split(",")]


def make_images(photograph: Image | None, size: Size, count: int) -> list[Image]:
    """Different images of one size, alike in what they cost: the first one and, shifted around, its copies. Read-only,
    as a server's decoded images are: the engine then reads the pixels of each once to know it again."""
    if photograph is None:
        image = draw_synthetic_image(*size)
    else:
        image = np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), np.uint8)
    images = [np.roll(image, size[0] * number // count, axis=1) for number in range(count)]
    for shifted in images:
        shifted.setflags(write=False)
    return images


def draw_synthetic_image(width: int, height: int) -> Image:
    """A seeded image of overlapping soft-edged discs on a gradient with grain: edges, flat parts and texture."""
    rng = np.random.default_rng(_SEED)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    image = np.dstack([80 + 90 * across, 100 + 60 * down, 150 - 80 * across]).astype(np.float32)
    for _ in range(12):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        radius = int(rng.uniform(0.05, 0.25) * min(width, height)) + 1
        colour = [float(value) for value in rng.uniform(0, 255, 3)]
        cv2.circle(image, centre, radius, colour, -1, cv2.LINE_AA)
    image += rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
