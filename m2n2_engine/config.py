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

from m2n2_engine.constant_rules import WEIGHT, check_constants

MEBIBYTE = 1024 * 1024
AUTO = "auto"

PROCESSOR_SESSION_CACHE_BYTES = 2048 * MEBIBYTE
"""Default budget of the resident images in a processor's memory. Here."""


class Decision(enum.StrEnum):
    """How the maps of several clicks become one mask.

    JOINT: every click chooses its segment anew, and each pixel goes to its nearest click. Paper. CONSENSUS: click by
    click, each correcting the mask of those before it, by a vote of candidates. Here.
    """

    JOINT = "joint"
    CONSENSUS = "consensus"


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

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a constant that cannot work."""
        check_constants(self)


@dataclasses.dataclass(frozen=True, slots=True)
class ClickEvidence:
    """How much each piece of evidence weighs when a click's region is chosen (``method.evidence`` measures them).

    A candidate's score is the sum of weight times evidence, and it votes with ``exp(score)``. All here: chosen by the
    expected IoU of the vote on GrabCut, ECSSD and COCO64.
    """

    edge: float = 2.0
    """Of the logarithm of the mean edge of the click's map along the region's new border."""

    image_edge: float = 2.0
    """Of the logarithm of the mean edge of the image there, as a multiple of the image's own mean."""

    centring: float = 3.85
    """Of the logarithm of how deep the click lies in the region, as a share of the deepest place there: annotators
    click near the middle of what is wrong."""

    depth: float = 1.6
    """Of the logarithm of that depth as a share of the click's depth in all that could change."""

    shared: float = 5.0
    """Of the share of the region's border that is the border of what could change: corrections are whole parts."""

    size: float = -0.3
    """Of the logarithm of the region's pixels as a share of the mask's, times that of the number of clicks before:
    what is still wrong after many clicks is small."""

    colours: float = 0.9
    """Of how much likelier the region's colours are on the click's side of the mask than on the other."""

    likeness: float = 2.4
    """Of how much nearer the region's cells are, in the chain, to the click's side of the mask than to the other."""

    walk: float = -1.0
    """Added to candidates of the walk over regions, whose edges are steeper than those of Markov-maps."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a weight that is no number."""
        check_constants(self, WEIGHT)


@dataclasses.dataclass(frozen=True, slots=True)
class BoxEvidence:
    """The same for the object in a box."""

    edge: float = 4.3
    """As of a click, along the whole border."""

    image_edge: float = 2.5
    """As of a click, along the whole border."""

    fit: float = 3.6
    """Of the logarithm of the IoU of the box with the region's own bounding box."""

    leak: float = -3.8
    """Of the share of the region that lies outside of the box."""

    fill: float = 2.6
    """Of the logarithm of the share of the box that the region fills."""

    colours: float = 1.1
    """Of how much likelier the region's colours are inside the box than around it."""

    likeness: float = 2.9
    """Of how much nearer the region's cells are, in the chain, to those inside the box than to those around it."""

    offset: float = -13.9
    """Of the distance between the region's centre and the box's, in sides of the box."""

    sides: float = 4.6
    """Of the share of the box's four sides that the region reaches."""

    frame: float = -7.1
    """Of the share of the box's outermost pixels that the region takes: those of a background are many."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a weight that is no number."""
        check_constants(self, WEIGHT)


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

    candidates: int = 24
    """Regions of each map that a correction votes on. Here."""

    smallest_correction: float = 1e-3
    """Share of the image that the smallest of them takes. Here."""

    smallest_object: float = 2e-4
    """The same where there is no mask yet: small objects are clicked, small corrections are missed. Here."""

    majority: float = 0.5
    """Share of the votes that a pixel needs. Here."""

    vote_places: int = 0
    """Places evenly around the first click whose maps vote with its own, so that a few pixels change little; 0: none.
    Here."""

    vote_distance_cells: float = 1.0
    """How far from the click they lie, in grid cells. Here."""

    box_majority: float = 0.4
    """The same in a box: several places vote, and an object may have parts that look different. Here."""

    zoom_factor: float = 2.0
    """Side of the window that an object is looked at again in, in multiples of the object's longer side. Here."""

    zoom_largest: float = 0.0
    """Objects are looked at again whose window has at most this share of the image's longer side; 0: none. Here."""

    zoom_smallest: float = 0.125
    """Share of the image's longer side that a window has at least. Here."""

    zoom_doubt: float = 0.5
    """The largest window is tried around a first click that lies off the middle of what it found: its depth there is
    below this share of the deepest. Here."""

    first_click: ClickEvidence = ClickEvidence(edge=5.3, image_edge=3.5, centring=2.9, depth=1.8, size=0.0)
    """Weights where there is no mask yet. There is no other side then, so the rest says nothing. Here."""

    correction: ClickEvidence = ClickEvidence()
    """Weights where a mask is corrected. Here."""

    largest_change: float = 0.8
    """Share of the mask's pixels that a click changes at most, once some clicks were made. Of corrections on GrabCut,
    ECSSD and COCO64 that were larger then, more than half made the mask worse. Here."""

    free_additions: int = 2
    """So many clicks are made before that holds for a positive click. Here, as above."""

    free_removals: int = 3
    """The same for a negative click. Here, as above."""

    box: BoxEvidence = BoxEvidence()
    """Weights for the object in a box. Here."""

    box_side_seeds: int = 3
    """So many by so many places in a box have their Markov-maps vote. Here."""

    region_pixels: int = 8
    """Side of the regions that the walk of a correction steps over, in pixels of the working size. Here."""

    region_colour_scale: float = 25.0
    """Difference in CIE Lab, 8-bit, by which the link of two regions becomes weaker by a factor of e. Here."""

    region_edge_scale: float = 33.0
    """The same for the mean edge of the image between them. Here."""

    region_chain_weight: float = 6.0
    """Exponent of the chain's transition between two regions in their link. Here."""

    previous_mask_weight: float = 5e-4
    """Chance, at each step of that walk, of ending in the mask as it was before. Here."""

    colour_band_cells: float = 1.0
    """How far from the border of a mask colours may move it, in grid cells; 0 leaves it where it is. Here."""

    colour_reach_cells: float = 2.0
    """After a correction they move it only within this distance of what has changed, in grid cells. Here."""

    colour_edge_scale: float = 0.5
    """Squared difference of neighbouring pixels, in means over the image, by which a border between them becomes
    cheaper by a factor of sqrt(e). GrabCut has 1. Here."""

    colour_mark_share: float = 0.8
    """Colours cannot change a click's sign around it, out to this share of how deep it lies in its part. Here."""

    click_radius_cells: float = 0.5
    """Radius of the disc around a click that has its sign, whatever else there is, in grid cells. Here."""

    smallest_piece_cells: float = 1.0
    """Pieces and holes of a mask with fewer pixels than so many cells go, unless a click lies in them. Here."""

    working_size_pixels: int = 1024
    """Longest side at which steps 4 to 7 run, in pixels; larger images are reduced to it and their mask is brought
    back to full size along the image's edges. Images slimmer than 4:1 keep as many pixels as one of 4:1 would. 0 means
    no cap. Here."""

    box_seeds: int = 5
    """At most this many positive clicks stand for a box in a joint decision. Here, as all of such a box: chosen by the
    mean IoU on GrabCut's 50 images (tight boxes, dinov2-small, grid 48) among 63 variants. It is 0.826, within 0.003 of
    the best, which takes more clicks; a single click at the centre of the box has 0.603. The same images chose and
    measured."""

    box_seed_share: float = 0.2
    """Seeds are taken from this share of the cells in a box: those that a walk from around it reaches last. Here."""

    box_ring_cells: int = 1
    """Width of the band around a box that this walk starts from, in grid cells. Here."""

    box_margin: float = 0.02
    """How far outside a box its negative clicks lie, as a share of its width and height. Here."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a constant that cannot work."""
        check_constants(self)

    def replace(self, **constants: Any) -> MethodConfig:
        """These constants with others in place of some, each by its own name: that of the chain's as they are, those of
        evidence with the name of their set and a point before them (``correction.edge``). Raises TypeError for a name
        that there is not."""
        own: dict[str, Any] = {}
        grouped: dict[str, dict[str, Any]] = {}
        for name, value in constants.items():
            group, _, inner = name.rpartition(".")
            group = group or ("chain" if name in _CHAIN_NAMES else "")
            (grouped.setdefault(group, {}) if group else own)[inner] = value
        for group, values in grouped.items():
            if group not in _GROUPS:
                raise TypeError(f"there is no set of constants {group!r}")
            own[group] = dataclasses.replace(own.get(group, getattr(self, group)), **values)
        return dataclasses.replace(self, **own)

    def constants(self) -> dict[str, Any]:
        """Every constant by its name, as ``replace`` takes them."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                prefix = _prefix(field.name)
                found |= {f"{prefix}{name}": inner for name, inner in dataclasses.asdict(value).items()}
            else:
                found[field.name] = value
        return found


_CHAIN_NAMES = frozenset(field.name for field in dataclasses.fields(ChainConfig))
_GROUPS = {"chain": ChainConfig, "first_click": ClickEvidence, "correction": ClickEvidence, "box": BoxEvidence}


def _prefix(group: str) -> str:
    """Of the names of a group's constants; those of the chain have none."""
    return "" if group == "chain" else f"{group}."


CONSTANT_KINDS: Mapping[str, str] = {
    **{
        f"{_prefix(group)}{field.name}": WEIGHT if group != "chain" else str(field.type)
        for group, config in _GROUPS.items()
        for field in dataclasses.fields(config)
    },
    **{field.name: str(field.type) for field in dataclasses.fields(MethodConfig) if field.name not in _GROUPS},
}
"""Name of each constant -> its type, as it is written; ``weight`` for those of evidence, which may be negative."""


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

    bundled_folder: Path | None = None
    """What came with the program, such as with a container's image, in the layout of ``cache_folder``. It is looked at
    before that one, which may hold what an older version fetched, and is never written to."""


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Everything an engine needs to be built; read from the environment by the backend, never here."""

    weights: WeightsConfig = WeightsConfig()
    backbone: str = AUTO
    """A name of ``backbones.BACKBONES``, or ``auto``: Stable Diffusion 2 on CUDA with its weights at hand, else
    the embedded DINOv2."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N``, or ``mps`` for the network alone on Apple's GPU."""

    precision: str = AUTO
    """Of DINOv2 on a processor: ``float32``, ``bfloat16``, or ``auto``: the latter where the processor has instructions
    for it and the preset is not the paper's."""

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

    defer_network: bool = False
    """True: a network that can be is loaded by the first image that needs it, for programs of a few images that may be
    on disk. A server wants to know at its start that it can be loaded."""

    preset: str = "paper"
    """A name of ``presets.PRESETS``, or ``auto``: the backbone's own."""

    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Fields of ``MethodConfig`` with other values than the preset's."""

    method: MethodConfig | None = None
    """All constants, instead of a preset's."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a number that cannot work."""
        check_constants(self)
