"""Drawn images, random prompts on them, and what holds for every mask of a prompt that is decided by consensus."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from m2n2_engine.backbones import load_backbone
from m2n2_engine.cache.transitions import AggregatorSource
from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import Engine
from m2n2_engine.paper_api import BackboneAggregator
from m2n2_engine.presets import CONSENSUS, PRESETS
from m2n2_engine.types import Box, Click, Image, Mask, Stroke

METHOD = dataclasses.replace(PRESETS[CONSENSUS], max_steps=100)
CELLS = 12
"""Along each side of the grid."""

SIZES = [(60, 80), (96, 72), (33, 120)]
"""(H, W), within the working size."""

LARGE_SIZES = [(700, 500), (330, 420)]
"""Above it: masks are brought back to full size."""

Segment = Callable[..., Mask]
"""As ``Engine.segment``, the mask alone. afresh: by an engine that was asked nothing before."""


def make_engine(session_cache_bytes: int = 2**24) -> Engine:
    aggregator = BackboneAggregator(load_backbone(EngineConfig(backbone="tiny", device="cpu", grid=CELLS)).backbone)
    source = AggregatorSource(aggregator, METHOD.chain)
    return Engine(source, fingerprint="tiny", cells=CELLS**2, method=METHOD, session_cache_bytes=session_cache_bytes)


def make_segment(engine: Engine | None = None) -> Segment:
    """Answers prompts by an engine, a new one unless given."""
    kept = engine or make_engine()

    def ask(
        image: Image,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        *,
        afresh: bool = False,
    ) -> Mask:
        return (make_engine() if afresh else kept).segment(image, clicks, box, mask).mask

    return ask


@dataclasses.dataclass(frozen=True)
class Story:
    """An image and the clicks on it, the first one positive. fractions: x, y of each click, as shares of the image."""

    kind: str
    seed: int
    size: tuple[int, int]
    fractions: Sequence[tuple[float, float, bool]]

    @property
    def clicks(self) -> list[Click]:
        height, width = self.size
        return [Click(x * width, y * height, positive) for x, y, positive in self.fractions]

    def draw(self) -> Image:
        rng = np.random.default_rng(self.seed)
        height, width = self.size
        if self.kind == "noise":
            return rng.integers(0, 256, (height, width, 3), np.uint8)
        image = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
        colours = rng.integers(0, 256, (4, 3)).tolist()
        if self.kind == "discs":
            for colour in colours:
                centre = int(rng.integers(width)), int(rng.integers(height))
                cv2.circle(image, centre, int(rng.integers(2, min(self.size) // 2)), colour, cv2.FILLED)
        else:
            period = int(rng.integers(4, width // 2))
            image[:, np.arange(width) % period < period // 2] = colours[0]
        return image


def stories(sizes: Sequence[tuple[int, int]], most_clicks: int = 5) -> st.SearchStrategy[Story]:
    share = st.integers(0, 99).map(lambda number: number / 100)
    click = st.tuples(share, share, st.booleans())
    first = st.tuples(share, share, st.just(True))
    return st.builds(
        lambda kind, seed, size, first, rest: Story(kind, seed, size, [first, *rest]),
        st.sampled_from(["discs", "stripes", "noise"]),
        st.integers(0, 2**16),
        st.sampled_from(sizes),
        first,
        st.lists(click, max_size=most_clicks - 1),
    )


def boxes() -> st.SearchStrategy[tuple[float, float, float, float]]:
    """Left, top, right and bottom as shares of the image."""
    return st.builds(
        lambda left, top, width, height: (left / 100, top / 100, (left + width) / 100, (top + height) / 100),
        *(st.integers(0, 60), st.integers(0, 60), st.integers(3, 40), st.integers(3, 40)),
    )


def check(examples: int) -> Callable[..., object]:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def check_signs(mask: Mask, clicks: Iterable[Click]) -> None:
    """Every clicked pixel has its sign; the last click on a pixel counts."""
    for (x, y), positive in sign_pixels(clicks).items():
        assert mask[y, x] == positive


def check_one_way(before: Mask, after: Mask, click: Click) -> None:
    """A positive click takes nothing away, a negative one adds nothing."""
    assert not ((before & ~after) if click.positive else (after & ~before)).any()


def check_effect(before: Mask, after: Mask, click: Click, earlier: Sequence[Click], open_pixels: Mask) -> None:
    """A click on the other sign changes half of the disc of half a cell at least, as far as that can change, unless an
    opposite click is near."""
    height, width = before.shape
    at = pixel_of(click)[::-1]
    if before[at] == click.positive or not open_pixels[at]:
        return
    opposite = [math.hypot(each.x - click.x, each.y - click.y) for each in earlier if each.positive != click.positive]
    if min(opposite, default=math.inf) < max(height, width) / CELLS:
        return
    y, x = np.ogrid[:height, :width]
    disc = np.hypot(x + 0.5 - click.x, y + 0.5 - click.y) <= min(height, width) / CELLS / 2
    assert (before != after).sum() >= (disc & open_pixels).sum() / 2


def check_pieces(mask: Mask, clicks: Iterable[Click]) -> None:
    """No piece and no hole is smaller than a cell, unless a click of its sign lies in it."""
    for sign in (True, False):
        own = mask if sign else ~mask
        count, labels, sizes, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8), connectivity=4)
        clicked = {labels[y, x] for (x, y), positive in sign_pixels(clicks).items() if positive is sign}
        small = [part for part in range(1, count) if sizes[part, cv2.CC_STAT_AREA] < mask.size / CELLS**2]
        assert set(small) <= clicked


def check_undo(
    segment: Segment,
    image: Image,
    clicks: Sequence[Click | Stroke],
    masks: Sequence[Mask],
    box: Box | None = None,
    mask: Mask | None = None,
) -> None:
    """Clicks taken back give the masks before them, and all clicks at once the last one."""
    for count in range(len(clicks), 0, -1):
        np.testing.assert_array_equal(segment(image, clicks[:count], box, mask), masks[count - 1])
    np.testing.assert_array_equal(segment(image, clicks, box, mask, afresh=True), masks[-1])


def sign_pixels(clicks: Iterable[Click]) -> dict[tuple[int, int], bool]:
    return {pixel_of(click): click.positive for click in clicks}


def pixel_of(click: Click) -> tuple[int, int]:
    """(x, y); every click here lies within its image."""
    return int(click.x), int(click.y)


def is_in(click: Click, box: Box) -> bool:
    return box.left <= click.x < box.right and box.top <= click.y < box.bottom
