"""Objects of a picture by examples of others: cells are matched, places are found, and each becomes a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from m2n2_engine.method.chain import AttentionFactors
from m2n2_engine.proposals.features import describe_cells
from m2n2_engine.proposals.matching import ExampleCells, match_cells, share_cells
from m2n2_engine.proposals.objects import FoundObject, find_objects
from m2n2_engine.types import Deadline, Example, OpenPicture, Picture, Proposal, Slots

FindFactors = Callable[[Picture], AttentionFactors]
"""What a picture's attention is made of, from where it is kept or from the network."""


class Proposer:
    """Finds the objects of one picture that are like those of some examples."""

    def __init__(self, find_factors: FindFactors, deadline: Deadline, slots: Slots) -> None:
        self._find_factors = find_factors
        self._deadline = deadline
        self._slots = slots

    def propose(self, picture: Picture, opened: OpenPicture, examples: Sequence[Example]) -> tuple[Proposal, ...]:
        """The proposals for a picture that is ready, the surest first."""
        found = [
            self._segment(opened, label, each)
            for label, own in _group_by_label(examples).items()
            for each in self._find_places(picture, own)
        ]
        return tuple(sorted(found, key=lambda proposal: -proposal.score))

    def _find_places(self, picture: Picture, examples: Sequence[Example]) -> list[FoundObject]:
        known = [self._read(example) for example in examples]
        factors = self._find_factors(picture)
        with self._slots.computing():
            self._deadline.check("compare the picture with the examples")
            return find_objects(match_cells(describe_cells(factors), known, factors.grid), picture.size)

    def _read(self, example: Example) -> ExampleCells:
        factors = self._find_factors(example.picture)
        return ExampleCells(describe_cells(factors), share_cells(example.mask, factors.grid))

    def _segment(self, opened: OpenPicture, label: str, place: FoundObject) -> Proposal:
        mask = opened.segment(place.clicks, mask=place.start, deadline=self._deadline, slots=self._slots).mask
        return Proposal(mask, label, float(np.clip(place.chance, 0, 1)), place.clicks)


def _group_by_label(examples: Sequence[Example]) -> Mapping[str, Sequence[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.label, []).append(example)
    return groups
