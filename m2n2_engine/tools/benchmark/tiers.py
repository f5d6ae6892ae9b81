"""What an image costs at every tier of the attention cache, and its clicks, from end to end."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from m2n2_engine.backbones import LoadedBackbone
from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import Engine, build_engine
from m2n2_engine.tools.benchmark.timing import Samples, time_call
from m2n2_engine.types import Click, Picture, Tier

ROTATING_IMAGES = 8

_OPENINGS = 20
"""Images opened for the first click against the second, once with each of two points first: the two differ by the merge
of one more map alone, so that eight left the noise in charge."""

_ROOM_FOR_ALL = 1 << 40
_ROOM_FOR_ONE = 1
"""Budgets in bytes. The newest session stays whatever the budget."""

_SEED = 11


@dataclasses.dataclass(frozen=True, slots=True)
class Rounds:
    """How much is measured. repeats: rounds over all tiers. clicks: of one object, at least two."""

    repeats: int
    clicks: int


@dataclasses.dataclass(frozen=True, slots=True)
class TierFigures:
    """One backbone, grid and size of image.

    found: seconds until an image is ready, by where it was found; a tier is missing where nothing was found there.
    clicks: by number, of an object refined click by click. sequence: all of them together. nbytes: of one image at each
    tier, where known; on the device after its clicks. peak_device_bytes: of all that the device held meanwhile, where
    it has memory of its own.
    """

    found: Mapping[Tier, Samples]
    clicks: tuple[Samples, ...]
    sequence: Samples
    nbytes: Mapping[Tier, int]
    peak_device_bytes: int | None = None

    @property
    def first_click(self) -> Samples:
        """On an image that is ready and was never clicked."""
        return self.clicks[0]

    @property
    def next_click(self) -> Samples:
        """All but the first."""
        return Samples(tuple(seconds for click in self.clicks[1:] for seconds in click.seconds))


@dataclasses.dataclass(frozen=True, slots=True)
class Rotation:
    """A click on another image than the one before: with all images resident, and with room for one session alone."""

    resident: Samples
    alone: Samples


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """The first and the second click on an image that was prepared when its task was opened."""

    first: Samples
    second: Samples


def measure_tiers(
    loaded: LoadedBackbone, images: Sequence[Picture], config: EngineConfig, rounds: Rounds, folder: Path
) -> TierFigures:
    """Time images of one size at every tier, the tiers in turn.

    images: at least two, so that each one finds the other in its place on the device. folder: for the disk tier.
    """
    device = loaded.backbone.device
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    without_tiers = dataclasses.replace(
        config, session_cache_bytes=_ROOM_FOR_ONE, host_cache_bytes=0, disk_cache_bytes=0
    )
    with_disk = dataclasses.replace(without_tiers, disk_cache_bytes=_ROOM_FOR_ALL, disk_cache_folder=folder)
    with_host = dataclasses.replace(with_disk, host_cache_bytes=_ROOM_FOR_ALL)
    host, disk = build_engine(loaded, with_host), build_engine(loaded, with_disk)
    found = collections.defaultdict[Tier, list[float]](list)
    sequences: list[list[float]] = []

    def prepare(engine: Engine, image: Picture, wanted: Tier) -> None:
        tier, seconds = time_call(lambda: engine.prepare(image), device)
        if tier is wanted:
            found[tier].append(seconds)

    for image in images:
        prepare(disk, image, Tier.NETWORK)
        host.prepare(image)  # not timed: from the disk into host memory
    for repeat in range(rounds.repeats):
        prepare(build_engine(loaded, without_tiers), images[repeat % len(images)], Tier.NETWORK)
        for image in images:
            prepare(build_engine(loaded, with_disk), image, Tier.DISK)
            prepare(host, image, Tier.HOST)
            prepare(host, image, Tier.DEVICE)
            sequences.append(_refine(host, image, rounds.clicks, device))
    return TierFigures(
        found={tier: Samples(tuple(found[tier])) for tier in Tier if tier in found},
        clicks=tuple(Samples(seconds) for seconds in zip(*sequences, strict=True)),
        sequence=Samples(tuple(map(sum, sequences))),
        nbytes=_read_bytes(host, disk, len(images)),
        peak_device_bytes=torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else None,
    )


def measure_rotation(loaded: LoadedBackbone, images: Sequence[Picture], config: EngineConfig, repeats: int) -> Rotation:
    """Time clicks that go from image to image; after each round over all, one with every tier but one session off."""
    device = loaded.backbone.device
    all_resident = dataclasses.replace(config, session_cache_bytes=_ROOM_FOR_ALL, disk_cache_bytes=0)
    one_session = dataclasses.replace(config, session_cache_bytes=_ROOM_FOR_ONE, host_cache_bytes=0, disk_cache_bytes=0)
    many, one = build_engine(loaded, all_resident), build_engine(loaded, one_session)
    rng = np.random.default_rng(_SEED)

    def click(engine: Engine, image: Picture) -> float:
        return _time_segment(engine, image, [_draw_click(rng, image)], device)

    for image in images:
        many.prepare(image)
    resident: list[float] = []
    alone: list[float] = []
    for repeat in range(repeats):
        resident += [click(many, image) for image in images]
        alone.append(click(one, images[repeat % len(images)]))
    return Rotation(Samples(tuple(resident)), Samples(tuple(alone)))


def measure_opening(loaded: LoadedBackbone, images: Sequence[Picture], config: EngineConfig) -> Opening:
    """Time an object's first two clicks, each of two points once the first and once the second."""
    device = loaded.backbone.device
    engine = build_engine(loaded, dataclasses.replace(config, session_cache_bytes=_ROOM_FOR_ONE, disk_cache_bytes=0))
    rng = np.random.default_rng(_SEED)
    first: list[float] = []
    second: list[float] = []
    for opening in range(_OPENINGS):
        image = images[opening % len(images)]
        points = [_draw_click(rng, image) for _ in range(2)]
        for clicks in (points, points[::-1]):
            engine.prepare(images[(opening + 1) % len(images)])  # takes the place of the other: no click is known yet
            engine.prepare(image)
            first.append(_time_segment(engine, image, clicks[:1], device))
            second.append(_time_segment(engine, image, clicks, device))
    return Opening(Samples(tuple(first)), Samples(tuple(second)))


def _refine(engine: Engine, image: Picture, count: int, device: str) -> list[float]:
    """Seconds of each click, all before it sent with it."""
    rng = np.random.default_rng(_SEED)
    clicks: list[Click] = []
    seconds = []
    for number in range(count):
        clicks = [*clicks, dataclasses.replace(_draw_click(rng, image), positive=number % 3 != 2)]
        seconds.append(_time_segment(engine, image, clicks, device))
    return seconds


def _time_segment(engine: Engine, image: Picture, clicks: Sequence[Click], device: str) -> float:
    return time_call(lambda: engine.segment(image, clicks), device)[1]


def _draw_click(rng: np.random.Generator, image: Picture) -> Click:
    return Click(rng.uniform(0, image.size[1]), rng.uniform(0, image.size[0]))


def _read_bytes(host: Engine, disk: Engine, images: int) -> dict[Tier, int]:
    """Of one image, by tier."""
    totals = {
        Tier.DEVICE: (host.status().tiers[Tier.DEVICE].bytes, 1),
        Tier.HOST: (host.status().tiers[Tier.HOST].bytes, images),
        Tier.DISK: (disk.status().tiers[Tier.DISK].bytes, images),
    }
    return {tier: total // count for tier, (total, count) in totals.items() if total}
