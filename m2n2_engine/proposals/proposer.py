"""Objects of a picture by examples of others: cells are matched, places are found, and each becomes a prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from m2n2_engine.method.chain import AttentionFactors
from m2n2_engine.proposals.confidence import LEAST_SCORE, score_place, weigh_place
from m2n2_engine.proposals.features import CellFeatures, describe_cells
from m2n2_engine.proposals.matching import learn_cells, match_cells
from m2n2_engine.proposals.objects import Place, find_places
from m2n2_engine.proposals.prompts import Asking, find_object
from m2n2_engine.types import Deadline, Example, Image, Mask, OpenPicture, Picture, Proposal, Slots

FindFactors = Callable[[Picture], AttentionFactors]
"""What a picture's attention is made of, from where it is kept or from the network."""

_MOST_PLACES = 8
"""Places of one label that are looked at. Here: each takes some seconds of two processor cores where it becomes an
object."""

_WORKING_PIXELS = 320
"""Longer side of the picture where places are found and masks compared. Here: that of the default preset."""

_SAME = 0.5
"""IoU from which on two proposals are of one object, and the less sure one goes. Here."""


@dataclasses.dataclass(frozen=True)
class Proposer:
    """Finds the objects of one picture that are like those of some examples.

    find_factors: of any picture. takes_masks: whether prompts may start from a mask. deadline: looked at before every
    expensive step. slots: for what is computed here.
    """

    find_factors: FindFactors
    takes_masks: bool
    deadline: Deadline
    slots: Slots

    def propose(self, picture: Picture, opened: OpenPicture, examples: Sequence[Example]) -> tuple[Proposal, ...]:
        """The proposals for a picture that is ready, the surest first. examples: at least one."""
        cells = self._describe(picture)
        image = _reduce(picture.pixels)
        asking = Asking(opened, image, picture.size, cells.grid, self.takes_masks, self.deadline, self.slots)
        found = [
            proposal
            for label, own in _group_by_label(examples).items()
            for proposal in self._propose_label(label, own, cells, asking)
        ]
        return tuple(_drop_doubles(sorted(found, key=lambda each: -each.score)))

    def _propose_label(
        self, label: str, examples: Sequence[Example], cells: CellFeatures, asking: Asking
    ) -> Iterator[Proposal]:
        for place, score in self._find_places(examples, cells, asking):
            asked = find_object(place, asking)
            if asked.mask.any():
                yield Proposal(asked.mask, label, score, asked.clicks, asked.box)

    def _find_places(
        self, examples: Sequence[Example], cells: CellFeatures, asking: Asking
    ) -> list[tuple[Place, float]]:
        pictures = [(self._describe(picture), mask) for picture, mask in _join_masks(examples).items()]
        with self.slots.computing():
            self.deadline.check("compare the picture with the examples")
            match = match_cells(cells, learn_cells(pictures))
            if match is None:
                return []
            places = find_places(match.level, (asking.image.shape[0], asking.image.shape[1]), _MOST_PLACES)
            scored = [(place, score_place(weigh_place(place, match))) for place in places]
        return [(place, score) for place, score in scored if score >= LEAST_SCORE]

    def _describe(self, picture: Picture) -> CellFeatures:
        return describe_cells(self.find_factors(picture))


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


def _reduce(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = min(1.0, _WORKING_PIXELS / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _drop_doubles(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Those of some proposals, the surest first, that share no object with a surer one."""
    kept: list[Proposal] = []
    for proposal in proposals:
        if all(_overlap(proposal.mask, other.mask) < _SAME for other in kept):
            kept.append(proposal)
    return kept


def _overlap(one: Mask, other: Mask) -> float:
    """IoU of two masks of which one at least has a pixel."""
    return float((one & other).sum() / (one | other).sum())
