"""The networks whose attention the engine can read: a registry by name. Importing it imports no network."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from m2n2_engine.config import AUTO, EngineConfig, MethodConfig, WeightsConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.presets import CONSENSUS, PAPER, choose_method
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
        """The torch device it runs on, ``cpu`` or ``cuda:0``."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the factors of the same image would."""

    def extract(self, image: Image) -> AttentionFactors:
        """Query and key projections of an RGB uint8 ``(H, W, 3)`` image of any size, on ``device``."""


@dataclasses.dataclass(frozen=True, slots=True)
class BackboneSpec:
    """How to load one backbone. module: in this package, with a ``load``. grid: default cells along a side. preset: of
    the method's constants, where none is asked for."""

    module: str
    grid: int
    preset: str = PAPER


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedBackbone:
    """A backbone, a sentence that says why it is this one, for /health and the log, and the constants it runs with.

    preset: what these are called.
    """

    backbone: Backbone
    reason: str
    method: MethodConfig
    preset: str


class _Load(Protocol):
    def __call__(
        self, name: str, grid: tuple[int, int], device: str, config: WeightsConfig, key_sharpness: float | None, /
    ) -> Backbone: ...


_DINOV2 = BackboneSpec("dinov2", DINOV2_GRID, CONSENSUS)
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
    device = choose_device(config.device)
    name, reason = choose_backbone(config, device)
    spec = BACKBONES[name]
    side = spec.grid if config.grid is None else config.grid
    if side < 2:
        raise ConfigurationError(f"a grid of {side} cells a side has no neighbours: use 2 or more")
    method = choose_method(config, spec.preset)
    module = importlib.import_module(f"{__name__}.{spec.module}")
    # Not every network can be named before it is loaded.
    load = cast(_Load, getattr(module, "defer", module.load) if config.defer_network else module.load)
    _log.info("loading backbone %s on %s: %s; preset %s", name, device, reason, method.name)
    backbone = load(name, (side, side), device, config.weights, method.constants.chain.key_sharpness)
    return LoadedBackbone(backbone, reason, method.constants, method.name)


def choose_device(device: str, cuda_devices: int | None = None) -> str:
    """The device that is meant: ``cpu`` or ``cuda:N``.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        cuda_devices: How many CUDA devices there are; None asks torch.

    Raises:
        ConfigurationError: There is no such device.
    """
    count = _count_cuda_devices() if cuda_devices is None else cuda_devices
    if device == "auto":
        return "cuda:0" if count else "cpu"
    allowed = {"cpu": "cpu", **{f"cuda:{index}": f"cuda:{index}" for index in range(count)}}
    if count:
        allowed["cuda"] = "cuda:0"
    if device not in allowed:
        raise ConfigurationError(f"no device {device!r} on this machine: use one of auto, {', '.join(allowed)}")
    return allowed[device]


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
    if device == "cpu":
        return EMBEDDED, "the device is set to cpu" if config.device == "cpu" else "no CUDA device"
    if not store.is_at_hand(PREFERRED, config.weights):
        return EMBEDDED, f"weights of {PREFERRED} not at hand: run `m2n2 weights get {PREFERRED}`"
    return PREFERRED, f"a CUDA device and the weights of {PREFERRED} are at hand"


def _count_cuda_devices() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
