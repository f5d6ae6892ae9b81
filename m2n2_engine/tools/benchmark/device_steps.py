"""Every fused kernel on a GPU beside what would be there without it: plain torch there, or the processor's form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch

from m2n2_engine.backbones import LoadedBackbone
from m2n2_engine.config import MethodConfig
from m2n2_engine.kernels.cpu.attention import build_attention
from m2n2_engine.kernels.cpu.flood_fill import flood_fill, normalise
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cpu.transition import balance, balance_factors, temper
from m2n2_engine.kernels.cpu.upsample import build_upsampler
from m2n2_engine.kernels.cpu.walk import build_coarse_maps, build_start_state
from m2n2_engine.kernels.cpu.working_size import reduce_image
from m2n2_engine.kernels.cuda import thresholds as device_thresholds
from m2n2_engine.kernels.fused import HALF_SCALE
from m2n2_engine.method.factors import AttentionFactors
from m2n2_engine.tools.benchmark.steps import Comparison, Forms, compare_forms
from m2n2_engine.types import Image

_STEPS = 64
"""Of a walk: that of an attention which is nearly even ends at once, and one of real attention takes up to hundreds."""

_CLICKS = 16


def compare_device_steps(loaded: LoadedBackbone, image: Image, repeats: int) -> Iterator[Comparison]:
    """The steps in their order. image: RGB uint8 ``(H, W, 3)``. The other form is named with each step."""
    with torch.inference_mode():
        factors = loaded.backbone.extract(image)
        device = loaded.backbone.device
        network = Forms("1 network", lambda: loaded.backbone.extract(image))
        yield from compare_forms([network, *_list_matrix_forms(factors, loaded.method)], repeats, device)
        yield from compare_forms(_list_map_forms(factors, image, loaded.method), repeats, device)


def _list_matrix_forms(factors: AttentionFactors, method: MethodConfig) -> list[Forms]:
    """Steps 1 to 3 beside plain torch in float32 on the same device."""
    from m2n2_engine.kernels.cuda.attention import build_tempered

    half = build_tempered(factors, method.chain.temperature)
    exact = half.float().div_(HALF_SCALE)
    walk = dataclasses.replace(method, arrival_level=2.0, max_steps=_STEPS)  # never arrives
    points = np.random.default_rng(0).uniform(0, 1, (_CLICKS, 2))
    starts = np.stack([build_start_state((x, y), (1, 1), factors.grid) for x, y in points])
    return [
        Forms(
            "1 and 2 attention and temperature (plain torch)",
            lambda: build_tempered(factors, method.chain.temperature),
            lambda: temper(build_attention(factors), method.chain.temperature),
        ),
        Forms(
            "2 balancing (plain torch)",
            lambda: balance(half, method.chain.balancing_rounds, method.chain.balancing_tolerance),
            lambda: balance(exact, method.chain.balancing_rounds, method.chain.balancing_tolerance),
        ),
        *(
            Forms(
                f"3 {_STEPS} steps of {clicks} walks (plain torch)",
                lambda some=starts[:clicks]: build_coarse_maps(half, some, walk),  # type: ignore[misc]
                lambda some=starts[:clicks]: build_coarse_maps(exact, some, walk),  # type: ignore[misc]
            )
            for clicks in (1, _CLICKS)
        ),
    ]


def _list_map_forms(factors: AttentionFactors, image: Image, method: MethodConfig) -> list[Forms]:
    """Steps 4 to 6 of one click in the middle beside the processor's."""
    from m2n2_engine.kernels.cuda import flood_fill as fused_fill
    from m2n2_engine.kernels.cuda.upsample import WindowUpsampler

    _, transition = balance_factors(factors, method)
    working = reduce_image(image, method.working_size_pixels)
    height, width = working.shape[:2]
    pixel = (width // 2, height // 2)
    coarse = build_coarse_maps(transition, build_start_state(pixel, (height, width), factors.grid)[None], method)[0]
    fused = cast(WindowUpsampler, build_upsampler(working, factors.grid, method, transition.device))
    compiled = build_upsampler(working, factors.grid, method)
    upsampled = normalise(compiled.apply(coarse))
    filled = normalise(flood_fill(upsampled, pixel))
    upsampled_there, filled_there = (torch.tensor(values, device=transition.device) for values in (upsampled, filled))
    return [
        Forms(
            "4 upsampling, first map of an image (processor)",
            lambda: build_upsampler(working, factors.grid, method, transition.device).apply(coarse),
            lambda: build_upsampler(working, factors.grid, method).apply(coarse),
        ),
        Forms(
            "4 upsampling, each further map (processor)",
            lambda: fused.apply_on_device(coarse),
            lambda: compiled.apply(coarse),
        ),
        Forms(
            "5 flood fill (processor)",
            lambda: fused_fill.flood_fill(upsampled_there[None], [pixel]),
            lambda: flood_fill(upsampled, pixel),
        ),
        Forms(
            "6 ranks (processor)",
            lambda: device_thresholds.rank_map(filled_there, pixel, method),
            lambda: rank_map(filled, pixel, method),
        ),
    ]
