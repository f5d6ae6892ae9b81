"""Which pictures are examples and which are targets, and what comes of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from m2n2_engine.proposals.features import CellFeatures
from m2n2_engine.tools.context import read_image
from m2n2_engine.tools.datasets.labelled import LabelledImages, LabelledObject
from m2n2_engine.tools.evaluate.proposing.baselines import copy_mask, propagate_labels
from m2n2_engine.types import Example, Mask, Picture, Proposal

COUNTS = (1, 3, 5)
"""Pictures of a label that are its examples: the first ones by name. Here."""

_ABSENT = 8
"""Pictures without the label that its examples are tried on, evenly from all. Here: each takes as long as a target."""

_HIT = 0.5
"""IoU from which on a proposal has found an object. COCO's loosest."""

LEAST_STUDIED = 0.03
"""Score of the least sure proposal that is studied. Here: every frame of DAVIS67 has a proposal of this score."""

Propose = Callable[[Picture, Sequence[Example]], Sequence[Proposal]]
Describe = Callable[[Picture], CellFeatures]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one label in one picture.

    examples: pictures of the examples. objects: in the truth; 0 where the picture has none of the label. scores: of the
    proposals, the surest first. hits: for each, whether it has an object, or all of them together. found: the objects
    that proposals have, each by the score of the surest one that has it. ious: of the surest proposal, of the labels of
    cells, and of the copied mask, each with all objects of the label.
    """

    label: str
    examples: int
    objects: int
    scores: tuple[float, ...]
    hits: tuple[bool, ...]
    found: tuple[float, ...] = ()
    ious: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Study:
    """Proposes for pictures of a data set by others of it. propose, describe: of the engine."""

    propose: Propose
    describe: Describe

    def run(self, images: LabelledImages) -> Iterator[Outcome]:
        """An outcome for each label, number of examples and picture.

        A label's pictures go by name: the first ones are examples, all others are targets. Its first picture alone is
        also tried on some pictures without it.
        """
        for label, objects in _group(images.objects).items():
            files = sorted(objects)
            for count in COUNTS:
                if count < len(files):
                    yield from self._try_label(label, objects, files[:count], files[count:])
            others = [file for file in sorted(set(images.files)) if file not in objects]
            yield from self._try_label(label, objects, files[:1], _choose(others, _ABSENT))

    def _try_label(
        self,
        label: str,
        objects: Mapping[Path, Sequence[LabelledObject]],
        known: Sequence[Path],
        targets: Sequence[Path],
    ) -> Iterator[Outcome]:
        pictures = [Picture.of(read_image(file)) for file in known]
        examples = [
            Example(picture, each.mask(), label)
            for file, picture in zip(known, pictures, strict=True)
            for each in objects[file]
        ]
        for file in targets:
            picture = Picture.of(read_image(file))
            proposals = self.propose(picture, examples)
            truths = [each.mask() for each in objects.get(file, ())]
            if truths:
                yield self._compare(label, picture, examples, proposals, truths, len(known))
            else:
                scores = tuple(each.score for each in proposals)
                yield Outcome(label, len(known), 0, scores, (False,) * len(proposals))

    def _compare(
        self,
        label: str,
        picture: Picture,
        examples: Sequence[Example],
        proposals: Sequence[Proposal],
        truths: Sequence[Mask],
        count: int,
    ) -> Outcome:
        everything = _join(truths, picture.size)
        masks = [each.mask for each in proposals]
        hits = tuple(max(measure_iou(mask, truth) for truth in [*truths, everything]) >= _HIT for mask in masks)
        having = ([each.score for each in proposals if measure_iou(each.mask, truth) >= _HIT] for truth in truths)
        found = tuple(max(scores) for scores in having if scores)
        pictures = dict.fromkeys(example.picture for example in examples)
        known = [
            (self.describe(own), _join([each.mask for each in examples if each.picture == own], own.size))
            for own in pictures
        ]
        ways = (
            _join(masks[:1], picture.size),
            propagate_labels(self.describe(picture), known, picture.size),
            copy_mask(known[0][1], picture.size),
        )
        surest, cells, copied = (measure_iou(mask, everything) for mask in ways)
        scores = tuple(each.score for each in proposals)
        return Outcome(label, count, len(truths), scores, hits, found, (surest, cells, copied))


def measure_iou(mask: Mask, truth: Mask) -> float:
    """Of two masks ``(H, W)``, the truth with a pixel at least."""
    return float((mask & truth).sum() / (mask | truth).sum())


def _group(objects: Sequence[LabelledObject]) -> dict[str, dict[Path, list[LabelledObject]]]:
    """Label -> file -> its objects of the label."""
    groups: dict[str, dict[Path, list[LabelledObject]]] = {}
    for each in objects:
        groups.setdefault(each.label, {}).setdefault(each.path, []).append(each)
    return groups


def _choose(files: Sequence[Path], count: int) -> list[Path]:
    places = np.linspace(0, len(files) - 1, min(count, len(files)))
    return [files[round(place)] for place in places]


def _join(masks: Sequence[Mask], size: tuple[int, int]) -> Mask:
    joined: Mask = np.logical_or.reduce([np.zeros(size, bool), *masks])
    return joined
