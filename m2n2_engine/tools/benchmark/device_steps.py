"""Every kernel of a GPU beside what would be there without it: the plain form there, or the processor's kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from m2n2_engine.backbones import LoadedBackbone
from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.click_maps import flood_fill, normalise
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cpu.upsampling_weights import build_upsampler
from m2n2_engine.method import reference
from m2n2_engine.method.chain import AttentionFactors, build_coarse_maps, build_start_state
from m2n2_engine.method.edge_map import find_edges
from m2n2_engine.session.session import reduce_image
from m2n2_engine.tools.benchmark.steps import Comparison, Forms, compare_forms
from m2n2_engine.types import Image

if TYPE_CHECKING:
    from m2n2_engine.kernels.cuda import CudaKernels

_CLICKS = 16

_NORM_CHANNELS, _NORM_GROUPS, _NORM_PIXELS = 128, 32, 8
"""The first layers of Stable Diffusion's VAE, its largest: eight pixels along each side of a cell."""


def compare_device_steps(
    kernels: CudaKernels, loaded: LoadedBackbone, image: Image, repeats: int, steps: int = 64
) -> Iterator[Comparison]:
    """The steps in their order, each with the name of its other form.

    Args:
        kernels: to be measured.
        loaded: a backbone on their device.
        image: RGB uint8 ``(H, W, 3)``.
        repeats: times that each form is called.
        steps: of a walk: that of an attention which is nearly even ends at once, and one of real attention takes up to
            hundreds.
    """
    with torch.inference_mode():
        factors = loaded.backbone.extract(image)
        device = loaded.backbone.device
        network = Forms("1 network", lambda: loaded.backbone.extract(image))
        matrix_forms = _list_matrix_forms(kernels, factors, loaded.method, steps)
        yield from compare_forms([network, _norm_form(kernels, factors.grid), *matrix_forms], repeats, device)
        yield from compare_forms(_list_map_forms(kernels, factors, image, loaded.method), repeats, device)


def _norm_form(kernels: CudaKernels, grid: tuple[int, int]) -> Forms:
    """GroupNorm of one layer of Stable Diffusion's VAE, whatever the backbone, beside torch's."""
    from m2n2_engine.kernels.cuda.group_norm import group_norm

    height, width = grid
    dtype = torch.float16
    shape = (1, _NORM_CHANNELS, _NORM_PIXELS * height, _NORM_PIXELS * width)
    values = torch.zeros(shape, dtype=dtype, device=kernels.device)  # its time depends on the size alone
    weight = torch.ones(_NORM_CHANNELS, dtype=dtype, device=kernels.device)
    return Forms(
        "1 GroupNorm of the VAE's first layer (torch)",
        lambda: group_norm(values, _NORM_GROUPS, weight, weight, 1e-6),
        lambda: torch.nn.functional.group_norm(values, _NORM_GROUPS, weight, weight, 1e-6),
    )


def _list_matrix_forms(
    kernels: CudaKernels, factors: AttentionFactors, method: MethodConfig, steps: int
) -> list[Forms]:
    """Steps 1 to 3 beside the plain form in float32 on the same device."""
    from m2n2_engine.kernels.cuda.attention import build_tempered
    from m2n2_engine.kernels.cuda.balancing import balance

    chain = method.chain
    half = build_tempered(factors, chain.temperature)
    exact = kernels.to_probabilities(half)
    endless = dataclasses.replace(method, arrival_level=2.0, max_steps=steps)  # never arrives
    points = np.random.default_rng(0).uniform(0, 1, (_CLICKS, 2))
    starts = np.stack([build_start_state((x, y), (1, 1), factors.grid) for x, y in points])
    return [
        Forms(
            "1 and 2 attention and temperature (plain form)",
            lambda: build_tempered(factors, chain.temperature),
            lambda: reference.temper(reference.attention(factors), chain.temperature),
        ),
        Forms(
            "2 balancing (plain form)",
            lambda: balance(half, chain),
            lambda: reference.balance(exact, chain.balancing_rounds),
        ),
        *(
            Forms(
                f"3 {steps} steps of {clicks} walks (plain form)",
                lambda some=starts[:clicks]: kernels.build_coarse_maps(half, some, endless),  # type: ignore[misc]
                lambda some=starts[:clicks]: build_coarse_maps(exact, some, endless),  # type: ignore[misc]
            )
            for clicks in (1, _CLICKS)
        ),
    ]


def _list_map_forms(kernels: CudaKernels, factors: AttentionFactors, image: Image, method: MethodConfig) -> list[Forms]:
    """Steps 4 to 6 of one click in the middle beside the processor's."""
    from m2n2_engine.kernels.cuda import flood_fill as fused_fill
    from m2n2_engine.kernels.cuda import thresholds as device_thresholds
    from m2n2_engine.kernels.cuda.upsample import WindowUpsampler

    _, transition = kernels.balance_factors(factors, method.chain)
    working = reduce_image(image, method.working_size_pixels)
    height, width = working.shape[:2]
    pixel = (width // 2, height // 2)
    start = build_start_state(pixel, (height, width), factors.grid)[None]
    coarse = kernels.build_coarse_maps(transition, start, method)[0]
    fused = WindowUpsampler(working, factors.grid, method, kernels.device)
    compiled = build_upsampler(working, factors.grid, method)
    upsampled = normalise(compiled.apply(coarse))
    filled = normalise(flood_fill(upsampled, pixel))
    upsampled_there, filled_there = (torch.tensor(values, device=kernels.device) for values in (upsampled, filled))
    return [
        Forms(
            "4 upsampling, first map of an image (processor)",
            lambda: WindowUpsampler(working, factors.grid, method, kernels.device).apply(coarse),
            lambda: build_upsampler(working, factors.grid, method).apply(coarse),
        ),
        Forms(
            "4 upsampling, each further map (processor)",
            lambda: fused.apply(coarse),
            lambda: compiled.apply(coarse),
        ),
        Forms(
            "5 flood fill (processor)",
            lambda: fused_fill.flood_fill(upsampled_there[None], [pixel], least_width=kernels.least_width),
            lambda: flood_fill(upsampled, pixel),
        ),
        Forms(
            "6 ranks (processor)",
            lambda: device_thresholds.rank_map(filled_there, pixel, method),
            lambda: rank_map(find_edges(filled, pixel, method.edge_levels), method),
        ),
    ]
