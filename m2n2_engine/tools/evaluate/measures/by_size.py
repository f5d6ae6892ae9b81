"""Objects apart by how much of their image they cover."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from m2n2_engine.tools.evaluate.refinement import Refinement

LIMITS_PERCENT = (0.25, 1.0, 3.0, 10.0)
"""Of the image's pixels: where one class of sizes ends and the next begins. An object at a limit is in the larger
class. Here."""

CLASSES = (
    f"below {LIMITS_PERCENT[0]:g} %",
    *(f"{low:g} to {high:g} %" for low, high in itertools.pairwise(LIMITS_PERCENT)),
    f"from {LIMITS_PERCENT[-1]:g} %",
)
"""From small to large."""


def name_size(share: float) -> str:
    """The class of an object that covers this share of its image, 0 to 1."""
    return CLASSES[sum(share * 100 >= limit for limit in LIMITS_PERCENT)]


def split_sizes(refinements: Sequence[Refinement]) -> dict[str, list[Refinement]]:
    """The refinements by the class of their object, from small to large; classes without any are left out."""
    found: dict[str, list[Refinement]] = {name: [] for name in CLASSES}
    for refinement in refinements:
        found[name_size(refinement.size_share)].append(refinement)
    return {name: members for name, members in found.items() if members}
