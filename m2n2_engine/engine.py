"""``Engine.segment``: validate -> session -> Markov-maps -> mask. Wiring, no formulas."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from m2n2_engine import __version__
from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.factors import FactorCache
from m2n2_engine.cache.memory import AttentionKey, ResidentCache
from m2n2_engine.cache.transitions import BackboneSource, TransitionSource
from m2n2_engine.config import PROCESSOR_SESSION_CACHE_BYTES, EngineConfig, MethodConfig
from m2n2_engine.errors import InvalidClicks, InvalidImage, OutOfMemory
from m2n2_engine.image_digest import ImageDigests
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu.threads import set_thread_count, thread_count
from m2n2_engine.presets import PAPER, PRESETS
from m2n2_engine.session.session import Session, session_bytes
from m2n2_engine.types import Box, Click, Image, Level, Segmentation, Timings

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


def load_engine(config: EngineConfig) -> Engine:
    """Load the backbone that ``config`` asks for and build an engine on it.

    Raises ConfigurationError, WeightsUnavailable or WeightsCorrupt. Sets the thread counts of torch and the kernels.
    """
    set_up_threads(config)
    return build_engine(load_backbone(config), config)


def set_up_threads(config: EngineConfig) -> None:
    """Give torch and the kernels the same number of threads, for the whole process."""
    if config.threads is not None:
        set_thread_count(config.threads)
    torch.set_num_threads(thread_count())


def build_engine(loaded: LoadedBackbone, config: EngineConfig) -> Engine:
    """An engine on a backbone that is loaded already."""
    backbone = loaded.backbone
    return Engine(
        BackboneSource(backbone, loaded.method, FactorCache(config.host_cache_bytes, open_disk_store(config))),
        fingerprint=backbone.fingerprint,
        cells=backbone.grid[0] * backbone.grid[1],
        method=loaded.method,
        session_cache_bytes=choose_session_cache_bytes(config, backbone.device),
        click_maps_bytes=config.click_maps_bytes,
        facts={
            "backbone": backbone.name,
            "backbone_reason": loaded.reason,
            "preset": loaded.preset,
            "device": backbone.device,
            "grid": f"{backbone.grid[0]}x{backbone.grid[1]}",
            "model_version": _name_version(loaded),
        },
    )


def choose_session_cache_bytes(config: EngineConfig, device: str) -> int:
    """Budget of the resident images that ``config`` asks for, else one that suits the device.

    On CUDA half of what is free: called once the network is loaded, it leaves the other half to the network's passes
    and to images in preparation.
    """
    if config.session_cache_bytes is not None:
        return config.session_cache_bytes
    if not device.startswith("cuda"):
        return PROCESSOR_SESSION_CACHE_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2


def _name_version(loaded: LoadedBackbone) -> str:
    """What platforms keep with the masks: release, network, grid and preset, without spaces."""
    preset = loaded.preset.replace(", ", "-").replace(" ", "-")
    return f"m2n2-{__version__}-{loaded.backbone.name}-{loaded.backbone.grid[0]}-{preset}"


def open_disk_store(config: EngineConfig) -> DiskStore | None:
    """The disk that ``config`` asks for, what killed processes left there deleted; None where it asks for none."""
    if not config.disk_cache_bytes:
        return None
    store = DiskStore(config.disk_cache_folder, config.disk_cache_bytes)
    store.tidy()
    return store


class Engine:
    """Image and clicks -> mask. Holds no current image: every call brings its own; safe under threads."""

    def __init__(
        self,
        source: TransitionSource,
        *,
        fingerprint: str,
        cells: int = 0,
        method: MethodConfig = PRESETS[PAPER],
        session_cache_bytes: int = PROCESSOR_SESSION_CACHE_BYTES,
        click_maps_bytes: int = EngineConfig.click_maps_bytes,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """fingerprint: changes whenever the attention of the same image would. cells: ``h * w`` of its grid, by which
        room is made before an image is prepared; 0 where it is not known before."""
        self._source = source
        self._digests = ImageDigests()
        self._fingerprint = f"{__version__} {fingerprint} {method}"
        # Only what the transition matrix depends on: images that are kept serve under all other constants too. The
        # version, for a release may prepare images in another way, and the disk outlives it.
        self._chain_fingerprint = f"{__version__} {fingerprint} {method.chain}"
        self._cells = cells
        self._method = method
        self._click_maps_bytes = click_maps_bytes
        self._facts = dict(facts or {})
        self._kernels = choose_kernels(self._facts.get("device", "cpu"))
        self._cache: ResidentCache[Session] = ResidentCache(session_cache_bytes)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the answer to the same clicks would, but for the device."""
        return self._fingerprint

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> Segmentation:
        """The mask of the object that the clicks and the box describe.

        image: RGB uint8 ``(H, W, 3)`` of any size from 1 x 1, any strides. clicks: at least one, unless there is a box;
        ``0 <= x <= W``, ``0 <= y <= H``. box: nothing outside of it is in the mask; where no click is positive, seeds
        inside it are chosen (``session.box``). Only negative clicks and no box give an empty mask of score 0. Raises
        InvalidImage, InvalidClicks or OutOfMemory.
        """
        check_image(image)
        if box is None or clicks:
            check_clicks(clicks, image.shape[1], image.shape[0])
        if box is not None:
            check_box(box, image.shape[1], image.shape[0])
        elif not any(click.positive for click in clicks):
            return Segmentation(np.zeros(image.shape[:2], bool), 0.0, Timings(0.0, 0.0))
        image = np.ascontiguousarray(image)
        started = time.perf_counter()
        with self._open(image) as (session, _):
            prepared = time.perf_counter()
            mask, score = self._with_room(image, lambda: session.segment(image, clicks, box))
        timings = Timings(prepared - started, time.perf_counter() - prepared)
        return Segmentation(mask, score if mask.any() else 0.0, timings)

    def prepare(self, image: Image) -> Level:
        """Make the image resident, so that the first click finds it ready; says where it was found.

        image: as for ``segment``. Raises InvalidImage or OutOfMemory.
        """
        check_image(image)
        with self._open(np.ascontiguousarray(image)) as (_, level):
            return level

    def find_level(self, image: Image) -> Level:
        """Where a click would find the image now; takes as long as its pixels take to be hashed.

        image: as for ``segment``. Raises InvalidImage.
        """
        check_image(image)
        key = self._find_key(np.ascontiguousarray(image))
        return Level.DEVICE if key in self._cache else self._source.find_level(key)

    def count_networks(self) -> int:
        """One: a second image at the same time would only make both later."""
        return 1

    def warm_up(self) -> None:
        """Compile every kernel and run the network once, so that no annotator waits for it."""
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (48, 64, 3), np.uint8)
        # Past the caches: an image found there would not run the network.
        transition = self._source.build_transition(image)
        clicks = [Click(10, 10), Click(50, 30, positive=False)]
        session = self._start_session(image, transition)
        session.segment(image, clicks)
        session.segment(image, [], Box(10, 10, 40, 40))
        # An image above the working size, so that the way back to full size is compiled too.
        side = self._method.working_size_pixels
        if side:
            large = np.resize(image, (8, side + 1, 3))
            self._start_session(large, transition).segment(large, [Click(10, 4)])

    def describe(self) -> Mapping[str, str | int | float | bool | None]:
        """Facts for /health, /metrics and logs; never blocks for long."""
        return {
            **self._facts,
            "threads": thread_count(),
            **self._cache.statistics.describe("session"),
            **self._source.describe(),
            **_describe_device(self._facts.get("device", "cpu")),
        }

    @contextlib.contextmanager
    def _open(self, image: Image) -> Iterator[tuple[Session, Level]]:
        """The image's session, and where the image was found."""
        key = self._find_key(image)
        expected_bytes = session_bytes(image.shape[:2], self._cells, self._method, self._kernels)
        level = Level.DEVICE

        def build() -> Session:
            nonlocal level
            session, level = self._with_room(image, lambda: self._build_session(image, key))
            return session

        with self._cache.open(key, expected_bytes, build) as session:
            yield session, level

    def _find_key(self, image: Image) -> AttentionKey:
        return AttentionKey(self._digests.digest(image), self._chain_fingerprint)

    def _with_room(self, image: Image, work: Callable[[], ResultT]) -> ResultT:
        """What ``work`` gives; where there is no memory left for it, it is tried once more without the idle sessions.

        Raises OutOfMemory where that does not help.
        """
        try:
            return work()
        except _OUT_OF_MEMORY as error:
            logger.warning("out of memory: dropping the idle sessions and trying once more")
            # Who waits for an image keeps its error, and the error's traceback what the failed try had in memory.
            traceback.clear_frames(error.__traceback__)
        self._cache.drop_idle()
        try:
            return work()
        except _OUT_OF_MEMORY as error:
            traceback.clear_frames(error.__traceback__)
            height, width = image.shape[:2]
            raise OutOfMemory(
                f"no memory left for this {width} x {height} image: use a smaller grid or working size, a smaller "
                "session budget, or a larger device"
            ) from error

    def _build_session(self, image: Image, key: AttentionKey) -> tuple[Session, Level]:
        transition, level = self._source.find_transition(image, key)
        return self._start_session(image, transition), level

    def _start_session(self, image: Image, transition: torch.Tensor) -> Session:
        # By the matrix: an aggregator of the caller's may have another device than the facts say.
        kernels = choose_kernels(str(transition.device))
        return Session(image, transition, kernels, self._method, self._click_maps_bytes)


def check_image(image: Image) -> None:
    """Raise InvalidImage unless this is an RGB uint8 ``(H, W, 3)`` array with pixels in it."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidImage(f"the image must be RGB uint8 (H, W, 3), not {found}")
    if 0 in image.shape:
        raise InvalidImage(f"the image has no pixels: its shape is {image.shape}")


def check_clicks(clicks: Sequence[Click], width: int, height: int) -> None:
    """Raise InvalidClicks unless there are clicks and all lie in an image of this size, border included."""
    if not clicks:
        raise InvalidClicks("there are no clicks: give at least one positive click")
    for click in clicks:
        if not (math.isfinite(click.x) and math.isfinite(click.y)):
            raise InvalidClicks(f"the click ({click.x}, {click.y}) is no point: use finite pixel coordinates")
        if not (0 <= click.x <= width and 0 <= click.y <= height):
            raise InvalidClicks(
                f"the click ({click.x:g}, {click.y:g}) is outside the image: use 0 <= x <= {width}, 0 <= y <= {height}"
            )


def check_box(box: Box, width: int, height: int) -> None:
    """Raise InvalidClicks unless this box has an area and lies in an image of this size."""
    if not (0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height):
        raise InvalidClicks(
            f"the box from ({box.left:g}, {box.top:g}) to ({box.right:g}, {box.bottom:g}) cannot be used: it needs "
            f"0 <= left < right <= {width} and 0 <= top < bottom <= {height}"
        )


def _describe_device(device: str) -> Mapping[str, int | bool]:
    """Whether the device still answers, and its memory. An error of CUDA stays until the process ends."""
    if not device.startswith("cuda"):
        return {"device_usable": True}
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:
        return {"device_usable": False}
    return {"device_usable": True, "device_memory_used_bytes": total - free, "device_memory_bytes": total}
