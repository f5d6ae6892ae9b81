"""Training-free interactive segmentation by M2N2: image and clicks -> mask.

The names below are those of the method's README and the engine's own; torch is imported when one is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from m2n2_engine._version import __version__
from m2n2_engine.types import Click, Segmentation

if TYPE_CHECKING:
    from m2n2_engine.engine import Engine, load_engine
    from m2n2_engine.paper_api import (
        Dinov2AttentionAggregator,
        M2N2SegmentationModel,
        StableDiffusion1AttentionAggregator,
        StableDiffusion2AttentionAggregator,
        adjust_temperature_and_ipf,
        create_markov_map_from_point,
    )

__all__ = [
    "Click",
    "Dinov2AttentionAggregator",
    "Engine",
    "M2N2SegmentationModel",
    "Segmentation",
    "StableDiffusion1AttentionAggregator",
    "StableDiffusion2AttentionAggregator",
    "__version__",
    "adjust_temperature_and_ipf",
    "create_markov_map_from_point",
    "load_engine",
]

_ENGINE_NAMES = ("Engine", "load_engine")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{'engine' if name in _ENGINE_NAMES else 'paper_api'}")
    return getattr(module, name)
