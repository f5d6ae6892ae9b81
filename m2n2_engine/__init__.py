"""Training-free interactive segmentation by M2N2: image and clicks -> mask.

The names below are those of the method's README and the engine's own; torch is imported when one is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from m2n2_engine._version import __version__
from m2n2_engine.errors import M2N2Error
from m2n2_engine.types import Box, Click, Example, Picture, Proposal, Segmentation, Stroke

if TYPE_CHECKING:
    from m2n2_engine.config import EngineConfig, WeightsConfig
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
    "Box",
    "Click",
    "Dinov2AttentionAggregator",
    "Engine",
    "EngineConfig",
    "Example",
    "M2N2Error",
    "M2N2SegmentationModel",
    "Picture",
    "Proposal",
    "Segmentation",
    "StableDiffusion1AttentionAggregator",
    "StableDiffusion2AttentionAggregator",
    "Stroke",
    "WeightsConfig",
    "__version__",
    "adjust_temperature_and_ipf",
    "create_markov_map_from_point",
    "load_engine",
]

_HOMES = {"Engine": "engine", "load_engine": "engine", "EngineConfig": "config", "WeightsConfig": "config"}
"""Module of the names that are imported when they are first used; the others are in ``paper_api``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'paper_api')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    """The published names, so that interactive completion finds those that are not imported yet."""
    return sorted([*globals(), *__all__])
