"""Objects of a picture by examples of others: cells are matched, places are found, and each becomes a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from m2n2_engine.method.shapes import find_extent
from m2n2_engine.proposals.confidence import score_place, weigh_place
from m2n2_engine.proposals.features import CellFeatures
from m2n2_engine.proposals.matching import KnownCells, learn_cells, match_cells
from m2n2_engine.proposals.objects import Place, find_places
from m2n2_engine.proposals.prompts import Asking, find_object
from m2n2_engine.session.window import Window
from m2n2_engine.types import Box, Deadline, Example, Mask, OpenPicture, Picture, Proposal, Slots

Describe = Callable[[Picture], CellFeatures]
"""The cells of a picture, from where they are kept or from the network."""

Frame = Callable[[Box, tuple[int, int]], Window | None]
"""Extent of an object and size ``(H, W)`` of its picture -> the part to see it larger in, if there is one."""

_MOST_PLACES = 8
"""Places of one label that are looked at. Here: each takes some seconds of two processor cores where it becomes an
object."""

_WORKING_PIXELS = 320
"""Longer side of the picture where places are found and masks compared. Here: that of the default preset."""

_SAME = 0.5
"""IoU from which on two proposals are of one object, and the less sure one goes. Here."""


@dataclasses.dataclass(frozen=True)
class FoundPlace:
    """A place that is worth a proposal. score: of the proposal."""

    place: Place
    label: str
    score: float


@dataclasses.dataclass(frozen=True)
class Proposer:
    """Finds the objects of one picture that are like those of some examples.

    describe: the cells of any picture. frame: the part that shows an object larger, by its extent and the size of its
    picture. takes_masks: whether prompts may start from a mask. deadline: looked at before every expensive step. slots:
    for what is computed here.
    """

    describe: Describe
    frame: Frame
    takes_masks: bool
    deadline: Deadline
    slots: Slots

    def find_places(self, picture: Picture, examples: Sequence[Example], least_score: float) -> list[FoundPlace]:
        """The places of a picture that are worth a proposal, in any order. examples: at least one. least_score: of a
        place."""
        cells = self.describe(picture)
        found = []
        for label, own in _group_by_label(examples).items():
            known = [(self.describe(other), mask) for other, mask in self._look_at(own)]
            with self.slots.computing():
                self.deadline.check("compare the picture with the examples")
                found += _find_places(label, cells, learn_cells(known), _find_size(picture))
        return [each for each in found if each.score >= least_score]

    def _look_at(self, examples: Sequence[Example]) -> Iterator[tuple[Picture, Mask]]:
        """What is learned from: each picture of the examples with all of its objects, and the part of it that shows a
        small one larger. The same part is looked at where an annotator clicks on the object."""
        joined = _join_masks(examples)
        yield from joined.items()
        extents = ((each.picture, find_extent(each.mask, each.picture.size)) for each in examples)
        parts = {(picture, self.frame(extent, picture.size)): None for picture, extent in extents if extent is not None}
        for picture, window in parts:
            if window is not None:
                part = picture.cut(window.left, window.top, window.right, window.bottom)
                yield part, joined[picture][window.top : window.bottom, window.left : window.right]

    def segment(self, picture: Picture, opened: OpenPicture, places: Sequence[FoundPlace]) -> tuple[Proposal, ...]:
        """The places as proposals, the surest first. opened: the picture, which is ready."""
        height, width = _find_size(picture)
        image = np.asarray(cv2.resize(picture.pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        asking = Asking(opened, image, picture.size, self.takes_masks, self.deadline, self.slots)
        found: list[Proposal] = []
        for each in sorted(places, key=lambda place: -place.score):
            asked = find_object(each.place, asking)
            if asked.mask.any() and all(_overlap(asked.mask, other.mask) < _SAME for other in found):
                found.append(Proposal(asked.mask, each.label, each.score, asked.clicks, asked.box))
        return tuple(found)


def _group_by_label(examples: Sequence[Example]) -> Mapping[str, Sequence[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.label, []).append(example)
    return groups


def _join_masks(examples: Sequence[Example]) -> Mapping[Picture, Mask]:
    """All objects of each picture in one mask: what is outside of it is background."""
    masks: dict[Picture, Mask] = {}
    for example in examples:
        masks[example.picture] = masks.get(example.picture, np.zeros(example.picture.size, bool)) | example.mask
    return masks


def _find_size(picture: Picture) -> tuple[int, int]:
    """The working size ``(h, w)`` of a picture."""
    height, width = picture.size
    scale = min(1.0, _WORKING_PIXELS / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _find_places(label: str, cells: CellFeatures, known: KnownCells, size: tuple[int, int]) -> list[FoundPlace]:
    match = match_cells(cells, known)
    if match is None:
        return []
    places = find_places(match.level, size, _MOST_PLACES)
    return [FoundPlace(place, label, score_place(weigh_place(place, match))) for place in places]


def _overlap(one: Mask, other: Mask) -> float:
    """IoU of two masks of which one at least has a pixel."""
    return float((one & other).sum() / (one | other).sum())
