"""What the attention cache promises, each ratio measured in one run, and whether it was kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors, LayerFactors
from m2n2_engine.tools.benchmark.steps import PRECISION_STEP, Comparison
from m2n2_engine.tools.benchmark.tiers import Opening, Rotation, TierFigures
from m2n2_engine.tools.benchmark.verdicts import Target
from m2n2_engine.types import Tier

_FILE_BUDGET_BYTES = 1 << 40

_MOST_OF_ONE_MAP = 1.1
"""A first click of one map against a second. Here: the two are the same work, and their ratio was 0.97 to 1.03 in six
runs. A tenth more is no noise."""

_SHARE_OF_A_MAP = 0.25
"""What each further map of a vote may take of a click. Here: the walks of all maps share each pass over the matrix, and
their upsampling the weights of the image. So a map takes less than a click, which decides and cuts too."""

_LARGE_RUN = "needs CUDA and --backbone stable-diffusion-2 --grid 128 --sizes 1024x1024"
_SMALL_RUN = "needs CUDA and --backbone dinov2-small"


def compare_tiers(figures: TierFigures) -> Iterator[Target]:
    """Restoring against preparing."""
    network = figures.found.get(Tier.NETWORK)
    for tier, bound in ((Tier.HOST, 8.0), (Tier.DISK, 5.0)):
        restored = figures.found.get(tier)
        ratio = network.median / restored.median if network and restored else None
        yield Target(f"restore from {tier} against preparation: faster", ratio, bound, how="medians")


def compare_opening(opening: Opening, maps: int) -> Target:
    """The first click on a task that was opened a while ago against the second.

    maps: Markov-maps of a first click, that of the click itself among them; a second click has one.
    """
    ratio = opening.first.median / opening.second.median
    bound = _MOST_OF_ONE_MAP if maps == 1 else 1 + _SHARE_OF_A_MAP * (maps - 1)
    how = "medians; images prepared before, each point once first and once second, no second look"
    promise = f"first click of {maps} map{'s' * (maps > 1)} against second click of 1: time"
    return Target(promise, ratio, bound, is_ceiling=True, how=how)


def compare_precision(steps: Iterable[Comparison]) -> Target:
    """The network in the short numbers of this processor against 32 bits."""
    ratio = next((step.ratio for step in steps if step.what.startswith(PRECISION_STEP)), None)
    how = "" if ratio else "needs avx512_bf16 or amx_bf16, DINOv2, its own preset, and the direct forms"
    return Target("network in 16 bits against 32 bits: faster", ratio, 1.5, how=how)


def compare_click(ratio: float | None) -> Target:
    """A new click against the direct form."""
    return Target("a new click against the direct form: faster", ratio, 10.0, how="medians")


def compare_rotation(rotation: Rotation) -> Target:
    """Clicks on images in rotation."""
    ratio = rotation.alone.median / rotation.resident.median
    promise = "clicks on 8 images in rotation against one session, tiers 2 and 3 off: faster"
    return Target(promise, ratio, 15.0, how="medians; no second look")


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


def bound_large_network(figures: TierFigures | None) -> Iterator[Target]:
    """What an H100 or H200 has to do with Stable Diffusion 2 at grid 128 and 1 megapixel; None where there is none."""
    network = figures.found.get(Tier.NETWORK) if figures else None
    peak = figures.peak_device_bytes / 1e9 if figures and figures.peak_device_bytes else None
    for what, measured, bound, unit in (
        ("preparation", network.median if network else None, 0.06, "s"),
        ("next click", figures.next_click.median if figures else None, 0.008, "s"),
        ("peak device memory", peak, 4.0, "GB"),
    ):
        how = "" if figures else _LARGE_RUN
        yield Target(f"H100 or H200, SD 2, grid 128, 1 megapixel: {what}", measured, bound, True, unit, how)


def bound_small_network(figures: TierFigures | None) -> Target:
    """The same of a click with DINOv2 and its own preset."""
    measured = figures.next_click.median if figures else None
    how = "" if figures else _SMALL_RUN
    return Target("H100 or H200, DINOv2, its own preset: next click", measured, 0.008, True, "s", how)
