"""``Engine.segment``: validate -> session -> Markov-maps -> mask. Wiring, no formulas."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from m2n2_engine import __version__
from m2n2_engine.backbones import EMBEDDED, LoadedBackbone, load_backbone
from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey, ResidentCache
from m2n2_engine.cache.transitions import BackboneSource, TransitionSource
from m2n2_engine.config import AUTO, PROCESSOR_SESSION_CACHE_BYTES, Decision, EngineConfig, MethodConfig
from m2n2_engine.errors import ConfigurationError, InvalidInput, InvalidMask, OutOfMemory
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu.threads import set_thread_count, thread_count
from m2n2_engine.method.chain import AttentionFactors
from m2n2_engine.presets import PAPER, PRESETS
from m2n2_engine.prompt import Prompt
from m2n2_engine.proposals.confidence import LEAST_SCORE
from m2n2_engine.proposals.features import CellFeatures, describe_cells
from m2n2_engine.proposals.proposer import Proposer
from m2n2_engine.session.second_look import Ask, SecondLook, View
from m2n2_engine.session.session import Session, session_bytes
from m2n2_engine.session.window import Window, frame_object
from m2n2_engine.types import (
    FREE,
    NEVER,
    Box,
    Click,
    Deadline,
    EngineStatus,
    Example,
    Image,
    Mask,
    Picture,
    Proposal,
    Segmentation,
    Slots,
    State,
    Stroke,
    Tier,
    Timings,
)

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


def load_engine(config: EngineConfig | None = None, *, offline: bool = False) -> Engine:
    """Load a network and build an engine on it.

    Sets the thread counts of torch and the kernels, for the whole process. Reads no environment variable.

    Args:
        config: which network, device, preset and caches. None: the embedded network with its own preset, on CUDA where
            there is a device, else on the processor.
        offline: True never opens a connection, whatever ``config`` says: weights that are not at hand are an error.

    Raises:
        ConfigurationError: something in ``config`` cannot work.
        WeightsUnavailable: the weights are not at hand and cannot be fetched.
        WeightsCorrupt: they are not what they should be.
    """
    config = config or EngineConfig(backbone=EMBEDDED, preset=AUTO)
    if offline:
        config = dataclasses.replace(config, weights=dataclasses.replace(config.weights, offline=True))
    set_up_threads(config)
    return build_engine(load_backbone(config), config)


def set_up_threads(config: EngineConfig) -> None:
    """Give torch and the kernels the same number of threads, for the whole process."""
    if config.threads is not None:
        set_thread_count(config.threads)
    torch.set_num_threads(thread_count())


def build_engine(loaded: LoadedBackbone, config: EngineConfig, release: str = __version__) -> Engine:
    """An engine on a backbone that is loaded already. release: see ``Engine``."""
    backbone = loaded.backbone
    return Engine(
        BackboneSource(backbone, loaded.method.chain, config.host_cache_bytes, open_disk_store(config)),
        fingerprint=backbone.fingerprint,
        cells=backbone.grid[0] * backbone.grid[1],
        method=loaded.method,
        session_cache_bytes=choose_session_cache_bytes(config, backbone.device),
        click_maps_bytes=config.click_maps_bytes,
        release=release,
        identity=EngineStatus(
            model_version=_name_version(loaded),
            backbone=backbone.name,
            backbone_reason=loaded.reason,
            preset=loaded.preset,
            device=backbone.device,
            precision=loaded.precision,
            device_warning=loaded.device_warning,
            grid=f"{backbone.grid[0]}x{backbone.grid[1]}",
        ),
    )


def choose_session_cache_bytes(
    config: EngineConfig, device: str, ask: Callable[[str], tuple[int, int]] = torch.cuda.mem_get_info
) -> int:
    """Budget of the resident images that ``config`` asks for, else one that suits the device. ask: see
    ``add_device_memory``.

    On CUDA half of what is free: called once the network is loaded, it leaves the other half to the network's passes
    and to images in preparation.
    """
    if config.session_cache_bytes is not None:
        return config.session_cache_bytes
    if not device.startswith("cuda"):
        return PROCESSOR_SESSION_CACHE_BYTES
    free, _ = ask(device)
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
    """Image and clicks -> mask; implements ``types.Segmenter``.

    It holds no current image: every call brings its own. Safe under threads.
    """

    def __init__(
        self,
        source: TransitionSource,
        *,
        fingerprint: str,
        cells: int = 0,
        method: MethodConfig = PRESETS[PAPER],
        session_cache_bytes: int = PROCESSOR_SESSION_CACHE_BYTES,
        click_maps_bytes: int = EngineConfig.click_maps_bytes,
        identity: EngineStatus | None = None,
        release: str = __version__,
    ) -> None:
        """Build an engine on a source of transition matrices.

        Args:
            source: gives the transition matrix of an image.
            fingerprint: changes whenever the attention of the same image would.
            cells: ``h * w`` of its grid, by which room is made before an image is prepared; 0 where it is not known.
            method: the constants.
            session_cache_bytes: budget of the resident images.
            click_maps_bytes: budget of the maps of one image's clicks.
            identity: the part of the status that never changes; its device is where room is made.
            release: of this product; another one may prepare images in another way, and the disk outlives it.
        """
        self._source = source
        self._cells = cells
        self._method = method
        self._click_maps_bytes = click_maps_bytes
        self._identity = identity or EngineStatus(model_version=f"m2n2-{release}")
        self._kernels = choose_kernels(self._identity.device or "cpu")
        self._cache: ResidentCache[Session] = ResidentCache(session_cache_bytes)
        self._fingerprint = f"{release} {fingerprint} {method}"
        # Only what the transition matrix depends on: what is kept of images serves under all other constants too.
        self._chain_fingerprint = f"{release} {fingerprint} {method.chain}"

    @property
    def fingerprint(self) -> str:
        """Changes whenever the answer to the same clicks would, but for the device."""
        return self._fingerprint

    @property
    def method(self) -> MethodConfig:
        """The constants."""
        return self._method

    @property
    def model_version(self) -> str:
        """What platforms keep with the masks."""
        return self._identity.model_version

    def segment(
        self,
        picture: Image | Picture,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
    ) -> Segmentation:
        """The mask of the object that the clicks, the box and the mask describe.

        Args:
            picture: made of an RGB uint8 ``(H, W, 3)`` array, or such an array of any size from 1 x 1, any strides.
            clicks: and strokes, at least one, unless there is a box or a mask; ``0 <= x <= W``, ``0 <= y <= H``. Only
                negative ones alone give an empty mask of score 0.
            box: the object lies in it, and clicks correct what it gives; nothing outside of it is in the mask.
            mask: bool ``(H, W)``, the object as far as it is known. Clicks correct it, and away from what they change
                it stays as it is. With a box, what lies outside of that is not in the answer.
            deadline: looked at before every expensive step.

        Raises:
            InvalidImage: the image is no such array.
            InvalidClicks: no clicks, or some that cannot be used.
            InvalidMask: the mask is no such array, or the preset decides all clicks at once, as ``paper`` does.
            OutOfMemory: no room for this image, even with every other one dropped.
            DeadlineExceeded: no time is left.
        """
        picture = _as_picture(picture)
        prompt = self.check_prompt(picture, clicks, box, mask)
        if prompt.is_empty:
            return _find_nothing(picture)
        with self.open(picture, deadline) as opened:
            return opened.answer(prompt, deadline, FREE)

    def candidates(
        self,
        picture: Image | Picture,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
    ) -> tuple[Segmentation, ...]:
        """Up to three masks that the last click or stroke may mean, as a part, an object and a group.

        The mask of ``segment`` is one of them, and each keeps what that promises. What they change is clearly
        different: below an IoU of 0.8. The smallest change comes first, so after a first click the smallest mask. There
        is one mask alone where the last click agrees with what there was before it, without clicks, and where the
        preset decides all clicks at once. Arguments and errors as for ``segment``.
        """
        picture = _as_picture(picture)
        prompt = self.check_prompt(picture, clicks, box, mask)
        if prompt.is_empty:
            return (_find_nothing(picture),)
        with self.open(picture, deadline) as opened:
            return opened.offer(prompt, deadline, FREE)

    def check_prompt(
        self, picture: Picture, clicks: Sequence[Click | Stroke], box: Box | None = None, mask: Mask | None = None
    ) -> Prompt:
        """What is asked of a picture, as one value. Raises InvalidClicks and InvalidMask as ``segment``."""
        if mask is not None and self._method.decision is Decision.JOINT:
            raise InvalidMask(
                "no mask can be corrected here: this preset decides all clicks at once. Use the preset consensus or "
                "paper-consensus, or give no mask"
            )
        return Prompt.of(picture.size, clicks, box, mask)

    @contextlib.contextmanager
    def open(self, picture: Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Iterator[OpenSession]:
        """See ``types.Segmenter.open``."""
        started = time.perf_counter()
        with self.open_session(picture, deadline, slots) as (session, tier):
            yield OpenSession(self, picture, session, tier, time.perf_counter() - started)

    @contextlib.contextmanager
    def open_session(self, picture: Picture, deadline: Deadline, slots: Slots) -> Iterator[tuple[Session, Tier]]:
        """The session of a picture, kept while the block works, and where it was found."""
        with self._cache.open(self._find_key(picture), self._expect_bytes(picture), deadline) as lease:
            tier = Tier.DEVICE
            if lease.is_new:
                session, tier = self.with_room(picture, lambda: self._build_session(picture, deadline, slots))
                lease.fill(session)
            yield lease.value, tier

    def prepare(self, picture: Image | Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> Tier:
        """Make the picture ready, so that its first click finds it, and say where it was found. See
        ``types.Segmenter.prepare``. picture: as for ``segment``."""
        with self.open(_as_picture(picture), deadline, slots) as opened:
            return opened.tier

    def find_tier(self, picture: Image | Picture) -> Tier:
        """Where a click would find the picture now. Waits for nothing. picture: as for ``segment``."""
        key = self._find_key(_as_picture(picture))
        return Tier.DEVICE if key in self._cache else self._source.find_tier(key)

    def propose(
        self,
        picture: Image | Picture,
        examples: Sequence[Example],
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
        least_score: float = LEAST_SCORE,
    ) -> tuple[Proposal, ...]:
        """Objects of a picture that are like those of some examples, the surest first; none where nothing is like them.

        No two of them are of one object, also where labels differ. What host or disk keep of a picture is used; where
        neither keeps any, a picture passes the network for each question about it.

        Args:
            picture: as for ``segment``.
            examples: in any order; none give no proposals.
            deadline: looked at before every expensive step.
            slots: for what is computed, and for the network where a picture is not ready.
            least_score: of a proposal, 0 to 1. Places below are not looked at further.

        Raises:
            InvalidInput: something among the examples is no Example, or ``least_score`` is not 0 to 1.
            ConfigurationError: this engine has no keys to compare, as one that is made of an aggregator.
            OutOfMemory, DeadlineExceeded: as ``segment``.
        """
        picture = _as_picture(picture)
        if not 0 <= least_score <= 1:
            raise InvalidInput(f"least_score must be 0 to 1, not {least_score}")
        for example in examples:
            if not isinstance(example, Example):
                found = type(example).__name__
                raise InvalidInput(f"an example must be an Example, not {found}: write Example(picture, mask, label)")
        if not examples:
            return ()
        takes_masks = self._method.decision is Decision.CONSENSUS
        proposer = Proposer(
            lambda other: self.describe(other, deadline, slots),
            lambda extent, size: frame_object(extent, size, self._method),
            takes_masks,
            deadline,
            slots,
        )
        places = proposer.find_places(picture, examples, least_score)
        if not places:
            return ()
        with self.open(picture, deadline, slots) as opened:
            return proposer.segment(picture, opened, places)

    def describe(self, picture: Image | Picture, deadline: Deadline = NEVER, slots: Slots = FREE) -> CellFeatures:
        """What the network says of each cell of a picture, by which proposals compare pictures. Arguments and errors as
        for ``propose``."""
        return describe_cells(self._find_factors(_as_picture(picture), deadline, slots))

    def count_networks(self) -> int:
        """One: a second image at the same time would only make both later."""
        return 1

    def warm_up(self) -> None:
        """Compile every kernel and run the network once, so that no annotator waits for it."""
        rng = np.random.default_rng(0)
        image = Picture.of(rng.integers(0, 256, (48, 64, 3), np.uint8)).pixels
        # Past the caches: an image found there would not run the network.
        transition = self._source.build_transition(image)
        clicks = [Click(10, 10), Click(50, 30, positive=False)]
        session = self._make_session(image, transition)
        session.segment(image, Prompt(tuple(clicks)))
        session.segment(image, Prompt(box=Box(10, 10, 40, 40)))
        # An image above the working size, so that the way back to full size is compiled too.
        side = self._method.working_size_pixels
        if side:
            large = Picture.of(np.resize(image, (side // 4 + 1, side + 1, 3))).pixels
            self._make_session(large, transition).segment(large, Prompt((Click(10, 4),)))

    def status(self) -> EngineStatus:
        """For /health, /metrics and logs; never blocks for long."""
        return add_device_memory(
            dataclasses.replace(
                self._identity,
                threads=thread_count(),
                tiers={Tier.DEVICE: self._cache.status, **self._source.tiers},
                disk_write_failures=self._source.write_failures,
            )
        )

    def flush(self) -> None:
        """Return once everything that was prepared until now is on disk, where there is one.

        Clicks do not wait for that. A process that ends on its own does it by itself.
        """
        self._source.flush()

    def with_room(self, picture: Picture, work: Callable[[], ResultT]) -> ResultT:
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
            height, width = picture.size
            raise OutOfMemory(
                f"no memory left for this {width} x {height} image: use a smaller grid or working size, a smaller "
                "session budget, or a larger device"
            ) from error

    def _find_factors(self, picture: Picture, deadline: Deadline, slots: Slots) -> AttentionFactors:
        found = self._source.find(picture, self._find_key(picture), deadline, slots)
        if found.factors is None:
            raise ConfigurationError(
                "this engine knows attention alone, and no keys that pictures could be compared by: load one with "
                "load_engine()"
            )
        return found.factors.factors

    def _find_key(self, picture: Picture) -> AttentionKey:
        return AttentionKey(picture.digest, self._chain_fingerprint)

    def _expect_bytes(self, picture: Picture) -> int:
        return session_bytes(picture.size, self._cells, self._method, self._kernels)

    def _build_session(self, picture: Picture, deadline: Deadline, slots: Slots) -> tuple[Session, Tier]:
        found = self._source.find(picture, self._find_key(picture), deadline, slots)
        with slots.computing():
            deadline.check("prepare the image")
            return self._make_session(picture.pixels, self._source.restore(found)), found.tier

    def _make_session(self, image: Image, transition: torch.Tensor) -> Session:
        # By the matrix: an aggregator of the caller's may work on another device than the one that is told.
        kernels = choose_kernels(str(transition.device))
        return Session(image, transition, kernels, self._method, self._click_maps_bytes)


class OpenSession:
    """A picture that an engine keeps ready; implements ``types.OpenPicture``."""

    def __init__(self, engine: Engine, picture: Picture, session: Session, tier: Tier, prepare_seconds: float) -> None:
        self.tier = tier
        self._engine = engine
        self._picture = picture
        self._session = session
        self._prepare_seconds = prepare_seconds

    def segment(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> Segmentation:
        """As ``Engine.segment``."""
        return self.answer(self._engine.check_prompt(self._picture, clicks, box, mask), deadline, slots)

    def candidates(
        self,
        clicks: Sequence[Click | Stroke],
        box: Box | None = None,
        mask: Mask | None = None,
        deadline: Deadline = NEVER,
        slots: Slots = FREE,
    ) -> tuple[Segmentation, ...]:
        """As ``Engine.candidates``."""
        return self.offer(self._engine.check_prompt(self._picture, clicks, box, mask), deadline, slots)

    def answer(self, prompt: Prompt, deadline: Deadline, slots: Slots) -> Segmentation:
        """As ``Engine.segment``, of a prompt that was checked."""
        if prompt.is_empty:
            return _find_nothing(self._picture)
        (segmentation,) = self._look(prompt, View.segment, deadline, slots)
        return segmentation

    def offer(self, prompt: Prompt, deadline: Deadline, slots: Slots) -> tuple[Segmentation, ...]:
        """As ``Engine.candidates``, of a prompt that was checked."""
        if prompt.is_empty:
            return (_find_nothing(self._picture),)
        return self._look(prompt, View.offer, deadline, slots)

    def _look(self, prompt: Prompt, ask: Ask, deadline: Deadline, slots: Slots) -> tuple[Segmentation, ...]:
        engine, picture = self._engine, self._picture
        again_seconds = clicks_seconds = 0.0

        @contextlib.contextmanager
        def open_part(window: Window) -> Iterator[View]:
            nonlocal again_seconds
            part = picture.cut(window.left, window.top, window.right, window.bottom)
            started = time.perf_counter()
            with engine.open_session(part, deadline, slots) as (session, _):
                again_seconds += time.perf_counter() - started
                yield View(part.pixels, session)

        def compute(work: Callable[[], ResultT]) -> ResultT:
            nonlocal clicks_seconds
            with slots.computing():
                deadline.check("compute the mask")
                started = time.perf_counter()
                try:
                    return engine.with_room(picture, work)
                finally:
                    clicks_seconds += time.perf_counter() - started

        whole = View(picture.pixels, self._session)
        found = SecondLook(whole, engine.method, open_part, compute).answer(prompt, ask)
        timings = Timings(self._prepare_seconds, clicks_seconds, again_seconds)
        return tuple(Segmentation(mask, score if mask.any() else 0.0, timings) for mask, score in found)


def _as_picture(image: Image | Picture) -> Picture:
    return image if isinstance(image, Picture) else Picture.of(image)


def _find_nothing(picture: Picture) -> Segmentation:
    return Segmentation(np.zeros(picture.size, bool), 0.0, Timings(0.0, 0.0))


def add_device_memory(
    status: EngineStatus, ask: Callable[[str], tuple[int, int]] = torch.cuda.mem_get_info
) -> EngineStatus:
    """The status with the memory of its device, where that has memory of its own.

    Args:
        status: of an engine.
        ask: torch's name of a device -> bytes that are free and bytes in all; RuntimeError where the device does not
            answer. An error of CUDA stays until the process ends, so the engine counts as failed then.
    """
    device = status.device
    if device is None or not device.startswith("cuda"):
        return status
    try:
        free, total = ask(device)
    except RuntimeError:
        reason = f"the device {device} does not answer any more: restart this server"
        return dataclasses.replace(status, state=State.FAILED, reason=reason)
    return dataclasses.replace(status, device_memory_used_bytes=total - free, device_memory_bytes=total)
