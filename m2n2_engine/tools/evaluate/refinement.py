"""What is kept of an object that was refined click by click."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
from pycocotools import mask as coco_masks

from m2n2_engine.tools.evaluate.metrics import count_clicks
from m2n2_engine.tools.evaluate.options import Band, Flip
from m2n2_engine.types import Click, Mask

Name = tuple[str, Band, Flip]
"""Tells a refinement from the others of a dataset: instance, band, flip."""

SHOWN_PERCENT = 90
"""Of all masks the one is kept, for pictures, that is the first to reach this IoU; the last one if none does."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refinement:
    """A simulated annotator's work on one object.

    ious: after each click, 0 to 1. clicks: fewer than that where RITM's rule had none left; the last IoU then stays.
    click_seconds: of each click; None where the pixel had been clicked on this image before and its map was at hand.
    prepare_seconds: None where the image was prepared for another refinement. shown_mask: COCO's compressed RLE.
    """

    instance: str
    band: Band
    flip: Flip
    clicks: tuple[Click, ...]
    ious: tuple[float, ...]
    click_seconds: tuple[float | None, ...]
    prepare_seconds: float | None
    shown_mask: str

    @property
    def name(self) -> Name:
        """Of this one."""
        return self.instance, self.band, self.flip

    @property
    def shown_clicks(self) -> tuple[Click, ...]:
        """The clicks that led to the mask that is shown."""
        return self.clicks[: count_clicks(self.ious, SHOWN_PERCENT)]

    @staticmethod
    def encode_mask(mask: Mask) -> str:
        """COCO's compressed RLE of a bool (H, W) mask."""
        return str(coco_masks.encode(np.asfortranarray(mask, np.uint8))["counts"], "ascii")

    def decode_mask(self, shape: tuple[int, int]) -> Mask:
        """The mask that is shown, bool (H, W), given its shape."""
        return np.asarray(coco_masks.decode({"size": list(shape), "counts": self.shown_mask}), bool)

    def to_json(self) -> dict[str, Any]:
        """Values of JSON."""
        return {**dataclasses.asdict(self), "clicks": [[click.x, click.y, click.positive] for click in self.clicks]}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """What ``to_json`` gave."""
        clicks = tuple(Click(*click) for click in row["clicks"])
        tuples = {name: tuple(row[name]) for name in ("ious", "click_seconds")}
        return cls(**{**row, **tuples, "clicks": clicks, "band": Band(row["band"]), "flip": Flip(row["flip"])})
