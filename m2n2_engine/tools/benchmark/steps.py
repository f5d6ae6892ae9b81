"""Every step beside its direct form, on one real attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from m2n2_engine.backbones import Backbone, LoadedBackbone, load_backbone
from m2n2_engine.backbones.precision import Precision
from m2n2_engine.config import EngineConfig, MethodConfig
from m2n2_engine.engine import build_engine
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu.chain import balance, balance_factors, build_attention, build_transition, temper
from m2n2_engine.kernels.cpu.click_maps import flood_fill, normalise
from m2n2_engine.kernels.cpu.ranks import rank_map
from m2n2_engine.kernels.cpu.upsampling_weights import build_upsampler
from m2n2_engine.method import reference as direct_forms
from m2n2_engine.method.chain import build_coarse_maps, build_start_state
from m2n2_engine.method.edge_map import find_edges
from m2n2_engine.paper_api import BackboneAggregator
from m2n2_engine.session.session import reduce_image
from m2n2_engine.tools.benchmark.timing import Samples, time_in_turn
from m2n2_engine.types import Click, Image, Map

PRECISION_STEP = "1 network in "
"""Begins the name of the step that has the network in fewer bits beside 32."""

_SEED = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """This engine and the direct form; direct is None where a step has no other form or was not asked for."""

    what: str
    fast: Samples
    direct: Samples | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster than the direct form."""
        return None if self.direct is None else self.direct.median / self.fast.median


@dataclasses.dataclass(frozen=True, slots=True)
class Forms:
    """The same by this engine and otherwise."""

    what: str
    fast: Callable[[], object]
    direct: Callable[[], object] | None = None


def compare_steps(loaded: LoadedBackbone, image: Image, config: EngineConfig, repeats: int) -> Iterator[Comparison]:
    """The processor's steps in their order, the first two also together. image: RGB uint8 ``(H, W, 3)``."""
    if loaded.precision not in (None, Precision.FLOAT32):
        exact = load_backbone(dataclasses.replace(config, precision=Precision.FLOAT32)).backbone
        what = f"{PRECISION_STEP}{loaded.precision}, beside 32 bits"
        forms = Forms(what, lambda: loaded.backbone.extract(image), lambda: exact.extract(image))
        yield from compare_forms([forms], repeats, loaded.backbone.device)
    yield from compare_forms(_list_steps(loaded.backbone, image, loaded.method), repeats, loaded.backbone.device)


def compare_click(
    loaded: LoadedBackbone, image: Image, config: EngineConfig, repeats: int, with_direct: bool
) -> Comparison:
    """A click at a place never clicked before, alone, from end to end."""
    method, backbone = loaded.method, loaded.backbone
    engine = build_engine(loaded, config)
    working = reduce_image(image, method.working_size_pixels)
    height, width = working.shape[:2]
    rng = np.random.default_rng(_SEED)

    def click() -> None:
        engine.segment(image, [Click(rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0]))])

    def click_directly() -> None:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        start = build_start_state((x, y), (height, width), backbone.grid)[None]
        coarse = kernels.build_coarse_maps(transition, start, method)[0]
        _rank_directly(direct_forms.markov_map(coarse, working, (int(x), int(y)), method), method)

    forms = Forms("a new click", click)
    if with_direct:
        kernels = choose_kernels(backbone.device)
        transition = kernels.build_transition(_extract_attention(backbone, image), method.chain)
        forms = dataclasses.replace(forms, direct=click_directly)
    return next(compare_forms([forms], repeats, backbone.device))


def _list_steps(backbone: Backbone, image: Image, method: MethodConfig) -> list[Forms]:
    """Each works on what the one before it makes."""
    factors = backbone.extract(image)
    attention = _extract_attention(backbone, image)
    tempered = temper(attention.clone(), method.chain.temperature)
    transition = build_transition(attention.clone(), method.chain)
    working = reduce_image(image, method.working_size_pixels)
    height, width = working.shape[:2]
    start = build_start_state((width / 2, height / 2), (height, width), factors.grid)[None]
    coarse = build_coarse_maps(transition, start, method)[0]
    upsampler = build_upsampler(working, factors.grid, method)
    upsampled = normalise(upsampler.apply(coarse))
    pixel = (width // 2, height // 2)
    filled = normalise(flood_fill(upsampled, pixel))

    def direct_map() -> None:
        direct_forms.upsample(coarse, working, method)

    def prepare_directly() -> None:
        whole = direct_forms.attention(backbone.extract(image))
        direct_forms.transition(whole, method.chain)

    return [
        Forms("1 network", lambda: backbone.extract(image)),
        Forms("1 attention", lambda: build_attention(factors), lambda: direct_forms.attention(factors)),
        Forms(
            "2 temperature",
            lambda: temper(attention.clone(), method.chain.temperature),
            lambda: direct_forms.temper(attention, method.chain.temperature),
        ),
        Forms(
            "2 balancing",
            lambda: balance(tempered, method.chain),
            lambda: direct_forms.balance(tempered, method.chain.balancing_rounds),
        ),
        Forms("3 coarse map", lambda: build_coarse_maps(transition, start, method)),
        Forms(
            "4 upsampling, first map of an image",
            lambda: build_upsampler(working, factors.grid, method).apply(coarse),
            direct_map,
        ),
        Forms("4 upsampling, each further map", lambda: upsampler.apply(coarse), direct_map),
        Forms("5 flood fill", lambda: flood_fill(upsampled, pixel), lambda: direct_forms.flood_fill(upsampled, pixel)),
        Forms(
            "6 ranks",
            lambda: rank_map(find_edges(filled, pixel, method.edge_levels), method),
            lambda: _rank_directly(filled, method),
        ),
        Forms("1 and 2 together", lambda: balance_factors(backbone.extract(image), method.chain), prepare_directly),
    ]


def _rank_directly(values: Map, method: MethodConfig) -> None:
    direct_forms.border_means(values, direct_forms.sobel_levels(values, method.edge_levels))


def _extract_attention(backbone: Backbone, image: Image) -> torch.Tensor:
    """``(n, n)``, the caller's to change."""
    return BackboneAggregator(backbone).extract_attention(image).flatten(2).flatten(0, 1)


def compare_forms(all_forms: Sequence[Forms], repeats: int, device: str) -> Iterator[Comparison]:
    """Time both sides of each in turn."""
    for forms in all_forms:
        forms.fast()  # not timed: kernels are compiled, memory is touched, caches are filled
        sides = [forms.fast] if forms.direct is None else [forms.fast, forms.direct]
        yield Comparison(forms.what, *time_in_turn(sides, repeats, device))
