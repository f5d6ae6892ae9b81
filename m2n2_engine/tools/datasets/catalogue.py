"""The published data sets: where they come from and what their masks mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from m2n2_engine.tools.datasets.ground_truth import (
    ReadObjects,
    read_labelled_objects,
    read_object,
    read_object_and_band,
)
from m2n2_engine.tools.datasets.sbd import read_instances

_F_BRS = "https://github.com/saic-vul/fbrs_interactive_segmentation/releases/download/v1.0"
"""Named by the README of RITM."""


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """A release file. checksum: ``<algorithm>:<hex digits>``; None where none is known, and only the checksums inside
    the archive are compared."""

    url: str
    file_name: str
    checksum: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """A data set. read_objects: what its masks mean. archive: None where it is unpacked by hand. by_hand: where to
    get it then. split: as ``find_labelled_images`` takes it."""

    name: str
    read_objects: ReadObjects = read_object
    archive: Archive | None = None
    by_hand: str | None = None
    split: str | None = None


def _release(name: str) -> Archive:
    return Archive(f"{_F_BRS}/{name}.zip", f"{name}.zip")


_SBD = Archive(
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    "SBD.tgz",
    "md5:82b4d87ceb2ed10f6038a1cba92111cb",  # recorded by torchvision; no sha256 is known
)
_BRATS = Archive(
    "https://drive.google.com/uc?export=download&id=1uaveX_nziTLaJOj-Gl3csvIaa6Q__EhP",  # SimpleClick's BraTS20.zip
    "BraTS.zip",
)
_SIMPLE_CLICK = "https://drive.google.com/drive/folders/1B6y1nNBnWU09EhxvjaTdp1XGjc1T6wUk"
"""Named by the README of SimpleClick."""

_ENTRIES = (
    Dataset("GrabCut", read_object_and_band, _release("GrabCut")),
    Dataset("Berkeley", archive=_release("Berkeley")),
    Dataset("DAVIS", archive=_release("DAVIS")),
    Dataset("SBD", read_instances, _SBD, split="val.txt"),
    Dataset("BraTS", archive=_BRATS),
    Dataset("OAIZIB", read_labelled_objects, by_hand=_SIMPLE_CLICK),
)

DATASETS: Mapping[str, Dataset] = {entry.name.lower(): entry for entry in _ENTRIES}
"""By the name of their option, ``--<name>``."""
