"""What is kept of an object that was refined click by click, and the file it is kept in: an interrupted run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from pycocotools import mask as coco_masks

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.evaluate.measures.invariants import InvariantCounts
from m2n2_engine.tools.evaluate.measures.metrics import count_clicks
from m2n2_engine.tools.evaluate.options import Band, Flip
from m2n2_engine.types import Box, Click, Mask

Name = tuple[str, Band, Flip]
"""Tells a refinement from the others of a dataset: instance, band, flip."""

SHOWN_PERCENT = 90
"""Of all masks the one is kept, for pictures, that is the first to reach this IoU; the last one if none does."""

MARKED_NUMBERS = (0, 1, 2, 3, 5, 10)
"""After so many clicks the mask is kept, and its border measured. 0: the box alone."""

FORMAT = 2
"""Of a line of the journal. Lines of another one are never read, as it is among the settings."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """An answer that is kept whole. number: how many clicks it follows. boundary_f: 0 to 1. mask: COCO's compressed
    RLE."""

    number: int
    boundary_f: float
    mask: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """A simulated annotator's work on one object.

    ious: after each answer, 0 to 1; with a box the first is that of the box alone, and then each is after a click.
    clicks: fewer than that where RITM's rule had none left; the last IoU then stays. click_seconds: of each answer;
    None where the pixel or the box had been given on this image before and its map was at hand. prepare_seconds: None
    where the image was prepared for another refinement. shown_mask: COCO's compressed RLE. size_share: of the image's
    pixels that are object, 0 to 1. marks: the answers after ``MARKED_NUMBERS`` of clicks. box: that was given with
    every click. filled_box_iou: of that box as a mask. moved_ious: after each moved first click, or moved box.
    """

    instance: str
    band: Band
    flip: Flip
    clicks: tuple[Click, ...]
    ious: tuple[float, ...]
    click_seconds: tuple[float | None, ...]
    prepare_seconds: float | None
    shown_mask: str
    size_share: float
    marks: tuple[Mark, ...]
    invariants: InvariantCounts
    box: Box | None
    filled_box_iou: float | None
    moved_ious: tuple[float, ...]

    @property
    def name(self) -> Name:
        """Of this one."""
        return self.instance, self.band, self.flip

    @property
    def first_number(self) -> int:
        """How many clicks the first IoU follows."""
        return 1 if self.box is None else 0

    @property
    def shown_clicks(self) -> tuple[Click, ...]:
        """The clicks that led to the mask that is shown."""
        return self.clicks[: count_clicks(self.ious, SHOWN_PERCENT) - 1 + self.first_number]

    def find_iou(self, number: int) -> float:
        """After so many clicks, or after the last one where there were not so many."""
        return self.ious[min(number - self.first_number, len(self.ious) - 1)]

    def to_json(self) -> dict[str, Any]:
        """Values of JSON."""
        return {**dataclasses.asdict(self), "clicks": [[click.x, click.y, click.positive] for click in self.clicks]}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """What ``to_json`` gave."""
        values = {
            **{name: tuple(row[name]) for name in ("ious", "click_seconds", "moved_ious")},
            "band": Band(row["band"]),
            "flip": Flip(row["flip"]),
            "clicks": tuple(Click(*click) for click in row["clicks"]),
            "marks": tuple(Mark(**mark) for mark in row["marks"]),
            "invariants": InvariantCounts(**row["invariants"]),
            "box": row["box"] and Box(**row["box"]),
        }
        return cls(**{**row, **values})


def encode_mask(mask: Mask) -> str:
    """COCO's compressed RLE of a bool (H, W) mask."""
    return str(coco_masks.encode(np.asfortranarray(mask, np.uint8))["counts"], "ascii")


def decode_mask(counts: str, shape: tuple[int, int]) -> Mask:
    """The mask of what ``encode_mask`` gave, bool (H, W), given its shape."""
    return np.asarray(coco_masks.decode({"size": list(shape), "counts": counts}), bool)


class Journal:
    """The refinements made with the same settings, as lines of JSON; those of others stay in the file and are not seen.
    Each is written as soon as it is made, in one piece; safe under threads."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """settings: everything that changes a figure, as values of JSON. Raises ConfigurationError where ``path``
        cannot be used."""
        self._path = path
        self._key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                # A process that was killed may have left a piece of a line, which the next one must not continue.
                if not (b"\n" + path.read_bytes()).endswith(b"\n"):
                    file.write(b"\n")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}; choose another --out") from None

    def read(self) -> list[Refinement]:
        """In the order they were made."""
        return [Refinement.from_json(line["refinement"]) for line in self._lines() if line["key"] == self._key]

    def forget(self) -> None:
        """Drop the refinements of these settings."""
        kept = [line for line in self._lines() if line["key"] != self._key]
        temporary = self._path.with_suffix(".part")
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self._path)

    def append(self, refinement: Refinement) -> None:
        """Write one down."""
        line = json.dumps({"key": self._key, "refinement": refinement.to_json()})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _lines(self) -> Iterator[dict[str, Any]]:
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # a piece of a line
