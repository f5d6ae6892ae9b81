"""The networks whose attention the engine can read: a registry by name. Importing it imports no network."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from m2n2_engine.backbones.devices import choose_device, explain_unused_gpu, look_at_hardware
from m2n2_engine.backbones.precision import Precision, choose_precision
from m2n2_engine.config import AUTO, EngineConfig, MethodConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.presets import CONSENSUS, PAPER, ChosenMethod, choose_method
from m2n2_engine.types import Image
from m2n2_engine.weights import store

if TYPE_CHECKING:
    from m2n2_engine.method.chain import AttentionFactors

PREFERRED = "stable-diffusion-2"
EMBEDDED = "dinov2-small"

DINOV2_GRID = 48
"""Cells along a side. Here: 80 in the paper's code, which two processor cores take too long for."""

STABLE_DIFFUSION_1_GRID = 112
STABLE_DIFFUSION_2_GRID = 128
"""Paper."""

TINY_GRID = 24

_log = logging.getLogger(__name__)


class Backbone(Protocol):
    """A frozen network that turns an image into attention factors. Implementations are safe under threads."""

    @property
    def name(self) -> str:
        """The backbone's name in the registry."""

    @property
    def grid(self) -> tuple[int, int]:
        """Cells ``(h, w)`` of the attention it extracts."""

    @property
    def device(self) -> str:
        """The torch device it runs on, ``cpu``, ``mps`` or ``cuda:0``."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the factors of the same image would."""

    def extract(self, image: Image) -> AttentionFactors:
        """Query and key projections of an RGB uint8 ``(H, W, 3)`` image of any size, on ``device``."""


@dataclasses.dataclass(frozen=True, slots=True)
class BackboneSpec:
    """How to load one backbone. module: in this package, with a ``load``. grid: default cells along a side. preset: of
    the method's constants, where none is asked for. takes_precision: whether ``load`` can be told one."""

    module: str
    grid: int
    preset: str = PAPER
    takes_precision: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedBackbone:
    """A backbone, a sentence that says why it is this one, for /health and the log, and the constants it runs with.

    preset: what these are called. precision: of the network, where it has a choice. device_warning: why a GPU of this
    machine is not used, where there is one.
    """

    backbone: Backbone
    reason: str
    method: MethodConfig
    preset: str
    precision: Precision | None = None
    device_warning: str | None = None


class _Load(Protocol):
    def __call__(
        self,
        name: str,
        grid: tuple[int, int],
        device: str,
        config: WeightsConfig,
        key_sharpness: float | None,
        /,
        **options: Precision,
    ) -> Backbone: ...


_DINOV2 = BackboneSpec("dinov2", DINOV2_GRID, CONSENSUS, takes_precision=True)
_STABLE_DIFFUSION_1 = BackboneSpec("stable_diffusion", STABLE_DIFFUSION_1_GRID)
_STABLE_DIFFUSION_2 = BackboneSpec("stable_diffusion", STABLE_DIFFUSION_2_GRID)

BACKBONES: Mapping[str, BackboneSpec] = {
    "dinov2-small": _DINOV2,
    "dinov2-small-hub": _DINOV2,
    "dinov2-base": _DINOV2,
    "stable-diffusion-2": _STABLE_DIFFUSION_2,
    "stable-diffusion-2-base": _STABLE_DIFFUSION_2,
    "stable-diffusion-2-1": _STABLE_DIFFUSION_2,
    "stable-diffusion-2-1-base": _STABLE_DIFFUSION_2,
    "stable-diffusion-1-5": _STABLE_DIFFUSION_1,
    "tiny": BackboneSpec("tiny", TINY_GRID),
}
"""Every backbone under the name of its weights; ``tiny`` needs none."""


def load_backbone(config: EngineConfig) -> LoadedBackbone:
    """Load the backbone that ``config`` names or, for ``auto``, the best one that this machine can run now.

    Weights that are not at hand are fetched, except that ``auto`` never fetches Stable Diffusion. Raises
    ConfigurationError, WeightsUnavailable or WeightsCorrupt.
    """
    hardware = look_at_hardware()
    device = choose_device(config.device, hardware)
    warning = None if config.device in ("cpu", "mps") else explain_unused_gpu(device, hardware)
    if warning is not None:
        _log.warning("%s", warning)
    name, reason = choose_backbone(config, device)
    spec = BACKBONES[name]
    side = spec.grid if config.grid is None else config.grid
    if side < 2:
        raise ConfigurationError(f"a grid of {side} cells a side has no neighbours: use 2 or more")
    method = choose_method(config, spec.preset)
    precision = _choose_precision(config.precision, name, device, method)
    module = importlib.import_module(f"{__name__}.{spec.module}")
    # Not every network can be named before it is loaded.
    load = cast(_Load, getattr(module, "defer", module.load) if config.defer_network else module.load)
    _log.info("loading backbone %s on %s: %s; preset %s", name, device, reason, method.name)
    started = time.perf_counter()
    options = {} if precision is None else {"precision": precision}
    backbone = load(name, (side, side), device, config.weights, method.constants.chain.key_sharpness, **options)
    _log.info("backbone %s loaded after %.1f s", name, time.perf_counter() - started)
    return LoadedBackbone(backbone, reason, method.constants, method.name, precision, warning)


def _choose_precision(asked: str, name: str, device: str, method: ChosenMethod) -> Precision | None:
    """The precision of a backbone; None where it has no choice. Raises ConfigurationError for one it cannot have."""
    # Queries attend to keys as published in the paper's own chain alone.
    precision = choose_precision(asked, device, as_published=method.constants.chain.key_sharpness is None)
    if BACKBONES[name].takes_precision:
        return precision
    if asked == Precision.BFLOAT16:
        raise ConfigurationError(f"the precision {asked} is for DINOv2, and the backbone is {name}: use auto")
    return None


def choose_backbone(config: EngineConfig, device: str) -> tuple[str, str]:
    """Which backbone ``config`` means on this device.

    Args:
        config: Names a backbone, or leaves it to ``auto``.
        device: As ``choose_device`` gives it.

    Returns:
        Its name, and a sentence that says why it is this one.

    Raises:
        ConfigurationError: There is no such backbone, or ``auto`` cannot decide.
    """
    if config.backbone in BACKBONES:
        return config.backbone, "asked for"
    if config.backbone != AUTO:
        raise ConfigurationError(f"unknown backbone {config.backbone!r}: use one of {', '.join([AUTO, *BACKBONES])}")
    if config.weights.model_id or config.weights.revision:
        raise ConfigurationError(
            "a model id or revision belongs to one backbone: name the backbone instead of leaving it to auto"
        )
    if not device.startswith("cuda"):
        return EMBEDDED, "no CUDA device" if config.device == AUTO else f"the device is set to {device}"
    if not store.is_at_hand(PREFERRED, config.weights):
        return EMBEDDED, f"weights of {PREFERRED} not at hand: run `m2n2 weights get {PREFERRED}`"
    return PREFERRED, f"a CUDA device and the weights of {PREFERRED} are at hand"
