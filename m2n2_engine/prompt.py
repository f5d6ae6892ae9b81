"""What is asked of one image: clicks, strokes, a box and a mask to start from, in one value that can be looked up."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from m2n2_engine.errors import InvalidClicks, InvalidMask
from m2n2_engine.types import Box, Click, Mask, Stroke

_MOST_SAMPLES = 32
"""Points that a stroke is sampled at, at most: each takes a walk, and a path over 32 cells is a long one. Here."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StartMask:
    """A mask that clicks correct; equal to every one of the same shape and pixels.

    pixels: bool ``(H, W)`` at the size of the image. digest: 32 hex digits of shape and pixels.
    """

    pixels: Mask
    digest: str

    @classmethod
    def of(cls, mask: Mask) -> StartMask:
        """The one of an array, which is not copied. Raises InvalidMask unless it is bool ``(H, W)``."""
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
            found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise InvalidMask(f"the mask must be bool (H, W), not {found}: convert it, for example by `mask > 0`")
        digest = hashlib.blake2b(str(mask.shape).encode(), digest_size=16)
        digest.update(np.packbits(mask).data)
        return cls(mask, digest.hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StartMask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """All that is asked at once, in pixels of the image. clicks: and strokes, in the order they were made. box: the
    object lies in it. start: the mask that the clicks correct. settled: clicks and strokes before those, which that
    mask obeys and the answer must."""

    clicks: tuple[Click | Stroke, ...] = ()
    box: Box | None = None
    start: StartMask | None = None
    settled: tuple[Click | Stroke, ...] = ()

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
    ) -> Prompt:
        """The prompt of an image of ``(H, W)`` pixels.

        Raises:
            InvalidClicks: there is nothing to go by, or a click, a stroke or the box cannot be used.
            InvalidMask: the mask is not bool ``(H, W)`` at the image's size.
        """
        clicks = _read_clicks(clicks)
        if clicks or (box is None and mask is None):
            check_clicks(clicks, size[1], size[0])
        if box is not None:
            check_box(box, size[1], size[0])
        start = None if mask is None else StartMask.of(mask)
        if start is not None and start.pixels.shape != size:
            height, width = start.pixels.shape
            raise InvalidMask(
                f"the mask has {width} x {height} pixels, but the image {size[1]} x {size[0]}: give it at the size of "
                "the image"
            )
        return cls(clicks, box, start)

    @property
    def is_empty(self) -> bool:
        """Whether it names no object: there are negative clicks alone."""
        return self.box is None and self.start is None and not any(click.positive for click in self.clicks)


def check_clicks(clicks: Sequence[Click | Stroke], width: int, height: int) -> None:
    """Raise InvalidClicks unless there are clicks or strokes and all of their points lie in an image of this size,
    border included."""
    if not clicks:
        raise InvalidClicks("there are no clicks: give at least one positive click")
    for click in clicks:
        name = "click" if isinstance(click, Click) else "point of a stroke"
        if isinstance(click, Stroke) and not click.points:
            raise InvalidClicks("a stroke has no points: give at least one, as (x, y)")
        for x, y in list_points(click):
            if not (math.isfinite(x) and math.isfinite(y)):
                raise InvalidClicks(f"the {name} ({x}, {y}) is no point: use finite pixel coordinates")
            if not (0 <= x <= width and 0 <= y <= height):
                raise InvalidClicks(
                    f"the {name} ({x:g}, {y:g}) is outside the image: use 0 <= x <= {width}, 0 <= y <= {height}"
                )


def list_points(click: Click | Stroke) -> Sequence[tuple[float, float]]:
    """The points (x, y) that a click or a stroke is drawn through."""
    return click.points if isinstance(click, Stroke) else ((click.x, click.y),)


def sample_stroke(
    click: Click | Stroke, image_size: tuple[int, int], grid: tuple[int, int]
) -> list[tuple[float, float]]:
    """Points (x, y) along a path, evenly, at most one cell apart as far as ``_MOST_SAMPLES`` allow; both ends are among
    them.

    Args:
        click: in pixels of the image.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)`` cells.
    """
    points = np.array(list_points(click), float)
    cell = image_size[1] / grid[1], image_size[0] / grid[0]
    lengths = np.hypot(*(np.diff(points, axis=0) / cell).T)
    reached = np.append(0.0, lengths.cumsum())
    if reached[-1] == 0:
        return [(float(points[0, 0]), float(points[0, 1]))]
    count = min(math.ceil(reached[-1]) + 1, _MOST_SAMPLES)
    at = np.linspace(0, reached[-1], count)
    x, y = (np.interp(at, reached, axis) for axis in points.T)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def find_around(
    click: Click | Stroke, image_size: tuple[int, int], grid: tuple[int, int], count: int, distance_cells: float
) -> list[tuple[float, float]]:
    """Points (x, y) evenly around a click, those that lie in the image; none around a stroke of several points.

    Args:
        click: in pixels of the image.
        image_size: ``(H, W)`` in pixels.
        grid: ``(h, w)`` cells.
        count: of points.
        distance_cells: of each from the click.
    """
    middle, *others = dict.fromkeys(list_points(click))
    if others:
        return []
    turns = 2 * np.pi * np.arange(count) / max(count, 1)
    x = middle[0] + distance_cells * image_size[1] / grid[1] * np.cos(turns)
    y = middle[1] + distance_cells * image_size[0] / grid[0] * np.sin(turns)
    inside = (x >= 0) & (x < image_size[1]) & (y >= 0) & (y < image_size[0])
    return list(zip(x[inside].tolist(), y[inside].tolist(), strict=True))


def find_path(click: Click | Stroke, image_size: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """The pixels (x, y) of an image of ``size`` (H, W) under a path, in its order and each once: a line one pixel wide
    of the full-size image, of ``image_size``, in whose pixels the path is."""
    points = np.array(list_points(click), float)
    steps = [_walk(start, end) for start, end in itertools.pairwise(points)]
    passed = np.concatenate([points[:1], *steps])
    scale = size[1] / image_size[1], size[0] / image_size[0]
    pixels = np.minimum((passed * scale).astype(int), (size[1] - 1, size[0] - 1))
    return list(dict.fromkeys(map(tuple, pixels.tolist())))


def _read_clicks(clicks: object) -> tuple[Click | Stroke, ...]:
    """What was given as the clicks, as it can be looked up. Raises InvalidClicks where it is something else."""
    if not isinstance(clicks, Iterable):
        raise InvalidClicks(f"the clicks must be a list of Click and Stroke, not {clicks!r}")
    found = tuple(clicks)
    for click in found:
        if not isinstance(click, Click | Stroke):
            raise InvalidClicks(f"a click must be a Click or a Stroke, not {click!r}: write Click(x, y)")
    return found


def check_box(box: Box, width: int, height: int) -> None:
    """Raise InvalidClicks unless this box is one, has an area and lies in an image of this size."""
    if not isinstance(box, Box):
        raise InvalidClicks(f"the box must be a Box, not {box!r}: write Box(left, top, right, bottom)")
    if not (0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height):
        raise InvalidClicks(
            f"the box from ({box.left:g}, {box.top:g}) to ({box.right:g}, {box.bottom:g}) cannot be used: it needs "
            f"0 <= left < right <= {width} and 0 <= top < bottom <= {height}"
        )


def _walk(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points after ``start`` up to ``end``, at most one pixel apart along each axis."""
    count = max(math.ceil(float(np.abs(end - start).max())), 1)
    shares = np.arange(1, count + 1)[:, None] / count
    return np.asarray(start + (end - start) * shares)
