"""Every constant of the method and every choice of the engine: value, unit, source.

"Paper" is Karmann and Urfalioglu, CVPR 2025, arXiv 2411.10411; "here" marks choices of this product. ``presets`` names
sets of constants.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEBIBYTE = 1024 * 1024
AUTO = "auto"

PROCESSOR_SESSION_CACHE_BYTES = 2048 * MEBIBYTE
"""Default budget of the resident images in a processor's memory. Here."""


class Decision(enum.StrEnum):
    """How the maps of several clicks become one mask.

    JOINT: every click chooses its segment anew, and each pixel goes to its nearest click. Paper. STEPWISE: click by
    click, each changing the mask of those before it only around itself; then the border follows colours. Here.
    """

    JOINT = "joint"
    STEPWISE = "stepwise"


@dataclasses.dataclass(frozen=True, slots=True)
class ChainConfig:
    """Constants that the transition matrix of an image depends on, and so what is kept of it on host and disk. The
    defaults are the paper's."""

    key_sharpness: float | None = None
    """None: the queries of the backbone's layers attend to their keys. Paper. A number: keys attend to keys, by the
    softmax of this times the cosine between them, in each head. Here."""

    temperature: float = 0.65
    """Divides the log attention before its rows are normalised again. No unit. Paper."""

    balancing_rounds: int = 200
    """At most this many rounds of columns-then-rows. A slow chain is defined by stopping there. Paper."""

    balancing_tolerance: float = 1e-7
    """Balancing stops earlier once no column sum is further than this from 1. Here: float32 resolves no more."""


@dataclasses.dataclass(frozen=True, slots=True)
class MethodConfig:
    """Constants of the method. The defaults are the paper's, but for ``working_size_pixels`` and those of boxes."""

    chain: ChainConfig = ChainConfig()
    """What the Markov chain itself depends on."""

    arrival_level: float = 0.3
    """tau: a cell is reached when its state, as a share of the largest, first exceeds this. Paper."""

    max_steps: int = 1000
    """Steps of the Markov chain after which unreached cells get this value. Paper."""

    spatial_sigma_cells: float = 1.0
    """Standard deviation of the upsampling's spatial Gaussian, in grid cells. Paper."""

    range_sigma: float = 0.1
    """Standard deviation of the upsampling's colour Gaussian over RGB in 0..1. Paper."""

    window_sigmas: float = 3.0
    """Radius of the upsampling's elliptic window in spatial sigmas. Paper."""

    edge_levels: int = 1024
    """Sobel magnitudes are scaled to 0..edge_levels and truncated to integers. Paper."""

    click_area_limit: float = 0.4
    """Largest share of the image that one click can claim, 0 to 1. Paper. Raise it for very large objects."""

    decision: Decision = Decision.JOINT
    """How clicks become a mask. Paper."""

    correction_candidates: int = 40
    """Thresholds that a stepwise correction chooses from. Here."""

    smallest_correction: float = 5e-4
    """Share of the image that the smallest of them takes. Here."""

    centring: float = 2.0
    """Exponent of how deep a stepwise click lies in what it corrects, as a share of the deepest place there: annotators
    click into the middle of what is wrong. 0 lets them click anywhere. Here."""

    colour_band_cells: float = 1.0
    """How far from the border of a stepwise mask colours may move it, in grid cells; 0 leaves it where it is. Here."""

    colour_rounds: int = 1
    """Times that the colours of both sides are learned and the border moved; 2 is a little better and slower. Here."""

    colour_mark_share: float = 0.8
    """Colours cannot change a click's sign around it, out to this share of how deep it lies in its correction. Here."""

    colour_mark_pixels: int = 2
    """Least radius of that disc, in pixels of the working size. Here."""

    working_size_pixels: int = 1024
    """Longest side at which steps 4 to 7 run, in pixels; larger images are reduced to it and their mask is brought
    back to full size along the image's edges. 0 means no cap. Here."""

    box_seeds: int = 5
    """At most this many positive clicks stand for a box. Here, as all of a box: chosen by the mean IoU on GrabCut's 50
    images (tight boxes, dinov2-small, grid 48) among 63 variants. It is 0.826, within 0.003 of the best, which takes
    more clicks; a single click at the centre of the box has 0.603. The same images chose and measured."""

    box_seed_share: float = 0.2
    """Seeds are taken from this share of the cells in a box: those that a walk from around it reaches last. Here."""

    box_ring_cells: int = 1
    """Width of the band around a box that this walk starts from, in grid cells. Here."""

    box_margin: float = 0.02
    """How far outside a box its negative clicks lie, as a share of its width and height. Here."""

    def replace(self, **constants: Any) -> MethodConfig:
        """These constants with others in place of some, each by its own name, be it of the chain or not. Raises
        TypeError for a name that there is not."""
        own = {name: value for name, value in constants.items() if name not in _CHAIN_NAMES}
        of_chain = {name: value for name, value in constants.items() if name in _CHAIN_NAMES}
        return dataclasses.replace(self, chain=dataclasses.replace(self.chain, **of_chain), **own)

    def constants(self) -> dict[str, Any]:
        """Every constant by its name, as ``replace`` takes them."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "chain"}
        return {**dataclasses.asdict(self.chain), **own}


_CHAIN_NAMES = frozenset(field.name for field in dataclasses.fields(ChainConfig))

CONSTANT_KINDS: Mapping[str, str] = {
    field.name: str(field.type)
    for config in (ChainConfig, MethodConfig)
    for field in dataclasses.fields(config)
    if field.name != "chain"
}
"""Name of each constant -> its type, as it is written."""


@dataclasses.dataclass(frozen=True, slots=True)
class WeightsConfig:
    """Where model weights live."""

    cache_folder: Path = Path.home() / ".cache" / "m2n2"
    """Weights fetched by this product are kept here, one folder a name."""

    folder: Path | None = None
    """A folder with one model, in the layout of its library, that is taken instead of anything else."""

    model_id: str | None = None
    """Hub repository to take instead of the backbone's own, for example a team's mirror."""

    revision: str | None = None
    """Branch, tag or commit of that repository; None takes the backbone's own."""

    offline: bool = False
    """True never opens a connection: weights come from the folder or the cache, or there is a clear error."""

    hub_cache_folder: Path | None = None
    """Where an ordinary Hugging Face client keeps what it fetched, which is read and never written; None takes the
    client's own."""


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Everything an engine needs to be built; read from the environment by the backend, never here."""

    weights: WeightsConfig = WeightsConfig()
    backbone: str = AUTO
    """A name of ``backbones.BACKBONES``, or ``auto``: Stable Diffusion 2 on CUDA with its weights at hand, else
    the embedded DINOv2."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

    grid: int | None = None
    """Cells along each side of the attention grid; None takes the backbone's own."""

    session_cache_bytes: int | None = None
    """Budget of the resident images (transition matrices, upsampling weights, click maps). The newest always stays.
    None: PROCESSOR_SESSION_CACHE_BYTES, on CUDA half of the memory that is free once the network is loaded."""

    host_cache_bytes: int = 1024 * MEBIBYTE
    """Budget of the queries, keys and balancing vectors kept in host memory; 0 keeps none."""

    disk_cache_bytes: int = 0
    """Budget of the same on disk, in ``disk_cache_folder``; 0 writes none, as a library should not unasked."""

    disk_cache_folder: Path = Path.home() / ".cache" / "m2n2" / "attention"
    """Shared by all processes that use it, and by restarts."""

    click_maps_bytes: int = 256 * MEBIBYTE
    """Budget of the maps of the clicks of one session; at the default working size a click takes at most 7 MiB."""

    threads: int | None = None
    """Threads of the compiled kernels and of torch; None takes the processors this process may use."""

    preset: str = "paper"
    """A name of ``presets.PRESETS``, or ``auto``: the backbone's own."""

    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Fields of ``MethodConfig`` with other values than the preset's."""

    method: MethodConfig | None = None
    """All constants, instead of a preset's."""
