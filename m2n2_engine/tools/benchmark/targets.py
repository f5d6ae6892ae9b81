"""What the attention cache promises, each ratio measured in one run, and whether it was kept."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from pathlib import Path

import torch

from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors
from m2n2_engine.tools.benchmark.tiers import Opening, Rotation, TierFigures
from m2n2_engine.types import Tier

_FILE_BUDGET_BYTES = 1 << 40


class Verdict(enum.StrEnum):
    """What came of a target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A promise. bound: what ``measured`` must not be below or, where ``is_ceiling``, above; both in ``unit``.

    measured: None where this run could not tell. how: by which figures.
    """

    promise: str
    measured: float | None
    bound: float
    is_ceiling: bool = False
    unit: str = "times"
    how: str = ""

    @property
    def verdict(self) -> Verdict:
        """Met up to the bound itself."""
        if self.measured is None:
            return Verdict.NOT_MEASURED
        kept = self.measured <= self.bound if self.is_ceiling else self.measured >= self.bound
        return Verdict.MET if kept else Verdict.MISSED


def compare_tiers(figures: TierFigures) -> Iterator[Target]:
    """Restoring against preparing."""
    network = figures.found.get(Tier.NETWORK)
    for tier, bound in ((Tier.HOST, 8.0), (Tier.DISK, 5.0)):
        restored = figures.found.get(tier)
        ratio = network.median / restored.median if network and restored else None
        yield Target(f"restore from {tier} against preparation: faster", ratio, bound, how="medians")


def compare_opening(opening: Opening) -> Target:
    """The first click on a task that was opened a while ago against the second."""
    ratio = opening.first.median / opening.second.median
    how = "medians; images prepared before, each point once first and once second"
    return Target("first click against second click: time", ratio, 1.0, is_ceiling=True, how=how)


def compare_click(ratio: float | None) -> Target:
    """A new click against the direct form."""
    return Target("a new click against the direct form: faster", ratio, 10.0, how="medians")


def compare_rotation(rotation: Rotation) -> Target:
    """Clicks on images in rotation."""
    ratio = rotation.alone.median / rotation.resident.median
    promise = "clicks on 8 images in rotation against one session, tiers 2 and 3 off: faster"
    return Target(promise, ratio, 15.0, how="medians")


def compare_bytes(folder: Path) -> Iterator[Target]:
    """What is kept of an image by Stable Diffusion 2 at grid 128 against its float32 matrix. folder: for the file."""
    kept = make_stable_diffusion_factors()
    store = DiskStore(folder, _FILE_BUDGET_BYTES)
    store.save(AttentionKey("image", "fingerprint"), kept)
    matrix_bytes = kept.rows.numel() ** 2 * torch.float32.itemsize
    stored_bytes = sum(image.nbytes for image in store.list_images()) or None
    for tier, nbytes in ((Tier.HOST, kept.nbytes), (Tier.DISK, stored_bytes)):
        yield Target(
            f"bytes of an image, SD 2 at grid 128: {tier} against the float32 matrix",
            nbytes and nbytes / matrix_bytes,
            1 / 20,
            is_ceiling=True,
            unit="of it",
            how=f"{nbytes} of {matrix_bytes} bytes",
        )


def make_stable_diffusion_factors() -> BalancedFactors:
    """Zeros in the shapes and types that Stable Diffusion 2 gives at grid 128.

    Two layers, five heads of 64; int16 on the processor, float16 on CUDA (``backbones.stable_diffusion``).
    """
    cells = 128 * 128
    projected = torch.zeros(5, cells, 64, dtype=torch.int16)
    layers = tuple(LayerFactors(projected, projected.clone(), weight=0.5) for _ in range(2))
    return BalancedFactors(AttentionFactors(layers, (128, 128)), torch.ones(cells), torch.ones(cells))


def bound_accelerator(figures: TierFigures | None) -> Iterator[Target]:
    """What an H100 or H200 has to do with Stable Diffusion 2 at grid 128 and 1 megapixel; None where there is none."""
    network = figures.found.get(Tier.NETWORK) if figures else None
    peak = figures.peak_device_bytes / 1e9 if figures and figures.peak_device_bytes else None
    for what, measured, bound, unit in (
        ("preparation", network.median if network else None, 0.4, "s"),
        ("next click", figures.next_click.median if figures else None, 0.06, "s"),
        ("peak device memory", peak, 8.0, "GB"),
    ):
        how = "" if figures else "needs CUDA and --backbone stable-diffusion-2 --grid 128 --sizes 1024x1024"
        yield Target(f"H100 or H200, SD 2, grid 128, 1 megapixel: {what}", measured, bound, True, unit, how)
