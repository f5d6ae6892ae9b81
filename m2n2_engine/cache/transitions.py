"""Image -> transition matrix: from what is kept of it in host memory or on disk, else from the network."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Mapping
from typing import Protocol

import torch

from m2n2_engine.backbones import Backbone
from m2n2_engine.cache.disk import DiskStore
from m2n2_engine.cache.memory import AttentionKey, ResidentCache
from m2n2_engine.cache.writer import DiskWriter
from m2n2_engine.config import ChainConfig
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.method.chain import BalancedFactors
from m2n2_engine.types import FREE, NEVER, Deadline, Image, Picture, Slots, Tier, TierStatus


@dataclasses.dataclass(frozen=True, slots=True)
class FoundTransition:
    """A picture's transition matrix, or what it is restored from.

    tier: where it was found. matrix: ``(n, n)``; None where it is to be restored. factors: what it is restored from.
    """

    tier: Tier
    matrix: torch.Tensor | None = None
    factors: BalancedFactors | None = None


class TransitionSource(Protocol):
    """Where an engine gets transition matrices from. Implementations are safe under threads."""

    def find(
        self, picture: Picture, key: AttentionKey, deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> FoundTransition:
        """What there is of the picture's transition matrix, prepared where there is nothing. Raises DeadlineExceeded,
        and what the slots raise."""

    def restore(self, found: FoundTransition) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``, the caller's to keep."""

    def find_tier(self, key: AttentionKey) -> Tier:
        """Where ``find`` would find it, by what is known without looking into it."""

    def build_transition(self, image: Image) -> torch.Tensor:
        """The same as ``restore`` gives, prepared anew; nothing is kept of it here."""

    @property
    def tiers(self) -> Mapping[Tier, TierStatus]:
        """What is kept, by tier."""

    @property
    def write_failures(self) -> int | None:
        """Images that could not be written to disk, since the start; None without a disk."""

    def flush(self) -> None:
        """Return once all is on disk that was prepared before and is to be kept there."""


class AttentionAggregator(Protocol):
    """Anything that turns an image into attention."""

    def extract_attention(self, image: Image) -> torch.Tensor:
        """Attention ``(h, w, h, w)`` float32 of an RGB uint8 ``(H, W, 3)`` image; the last two axes sum to 1."""


class AggregatorSource:
    """Transition matrices of an object that only knows whole attentions: nothing is kept of them."""

    tiers: Mapping[Tier, TierStatus] = {}
    write_failures = None

    def __init__(self, aggregator: AttentionAggregator, chain: ChainConfig) -> None:
        """aggregator: what it returns is overwritten."""
        self._aggregator = aggregator
        self._chain = chain
        self._lock = threading.Lock()

    def find(
        self, picture: Picture, key: AttentionKey, deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> FoundTransition:
        """Always prepared anew."""
        with slots.network():
            deadline.check("prepare the image")
            return FoundTransition(Tier.NETWORK, matrix=self.build_transition(picture.pixels))

    def restore(self, found: FoundTransition) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``."""
        assert found.matrix is not None
        return found.matrix

    def find_tier(self, key: AttentionKey) -> Tier:
        """Nowhere."""
        return Tier.NETWORK

    def flush(self) -> None:
        """Nothing is kept."""

    def build_transition(self, image: Image) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``."""
        with self._lock, torch.inference_mode():
            attention = self._aggregator.extract_attention(image)
            cells = attention.shape[0] * attention.shape[1]
            kernels = choose_kernels(str(attention.device))
            transition = kernels.build_transition(attention.reshape(cells, cells), self._chain)
        return transition.reshape(attention.shape)


class BackboneSource:
    """Transition matrices of a backbone, whose factors are kept in host memory and on disk."""

    def __init__(
        self,
        backbone: Backbone,
        chain: ChainConfig,
        host_budget_bytes: int,
        disk: DiskStore | None = None,
    ) -> None:
        """host_budget_bytes: 0 keeps none in host memory. disk: None keeps none there."""
        self._backbone = backbone
        self._chain = chain
        self._kernels = choose_kernels(backbone.device)
        self._host: ResidentCache[BalancedFactors] = ResidentCache(host_budget_bytes, keep_newest=False)
        self._disk = disk
        self._writer = None if disk is None else DiskWriter(disk)
        self._expected_bytes = 0
        # One image passes network and balancing at a time: a second one would only make both later, at twice the
        # memory. Restoring is short, and does not wait for it.
        self._lock = threading.Lock()

    def find(
        self, picture: Picture, key: AttentionKey, deadline: Deadline = NEVER, slots: Slots = FREE
    ) -> FoundTransition:
        """From the host's memory, the disk or the network. However many threads ask, and with a disk however many
        processes do, an image passes the network once."""
        with self._host.open(key, self._expected_bytes, deadline) as lease:
            if lease.is_new:
                found = self._load_or_build(picture, key, deadline, slots)
                assert found.factors is not None
                lease.fill(found.factors)
                # Images of one backbone take the same room: its grid is fixed.
                self._expected_bytes = found.factors.nbytes
                return found
            return FoundTransition(Tier.HOST, factors=lease.value)

    def restore(self, found: FoundTransition) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``: to the last bit the same, wherever it was found."""
        if found.matrix is not None:
            return self._to_grid(found.matrix)
        assert found.factors is not None
        with torch.inference_mode():
            return self._to_grid(self._kernels.restore_transition(found.factors, self._chain))

    def find_tier(self, key: AttentionKey) -> Tier:
        """The host's memory, the disk or the network."""
        if key in self._host:
            return Tier.HOST
        return Tier.DISK if self._disk is not None and key in self._disk else Tier.NETWORK

    def build_transition(self, image: Image) -> torch.Tensor:
        """The transition matrix ``(h, w, h, w)``; the cache is not asked and does not learn of it."""
        with self._lock, torch.inference_mode():
            return self._to_grid(self._kernels.balance_factors(self._backbone.extract(image), self._chain)[1])

    @property
    def tiers(self) -> Mapping[Tier, TierStatus]:
        """Host and, where there is one, disk."""
        disk = {} if self._disk is None else {Tier.DISK: self._disk.status}
        return {Tier.HOST: self._host.status, **disk}

    @property
    def write_failures(self) -> int | None:
        """See ``TransitionSource``."""
        return None if self._disk is None else self._disk.write_failures

    def flush(self) -> None:
        """See ``TransitionSource``."""
        if self._writer is not None:
            self._writer.flush()

    def _load_or_build(self, picture: Picture, key: AttentionKey, deadline: Deadline, slots: Slots) -> FoundTransition:
        if self._disk is None or self._writer is None:
            return self._build(picture, deadline, slots)
        with contextlib.ExitStack() as held:
            # The file's lock before the network's slot: who waits for another process keeps nobody here from the
            # network.
            held.enter_context(self._disk.building(key, deadline))
            kept = self._disk.load(key)
            if kept is not None:
                return FoundTransition(Tier.DISK, factors=kept)
            found = self._build(picture, deadline, slots)
            assert found.factors is not None
            # Behind the click: a tenth of a second and more for 42 MB, about as long as a GPU takes to prepare the
            # image. The lock is held until the file is there, so nobody prepares the image again meanwhile.
            self._writer.put(key, found.factors, held.pop_all().close)
            return found

    def _build(self, picture: Picture, deadline: Deadline, slots: Slots) -> FoundTransition:
        with slots.network(), deadline.hold(self._lock, "prepare the image"), torch.inference_mode():
            deadline.check("prepare the image")
            # No further check: what the network has said is worth being kept for the next try.
            factors, matrix = self._kernels.balance_factors(self._backbone.extract(picture.pixels), self._chain)
        return FoundTransition(Tier.NETWORK, matrix, factors.to("cpu"))

    def _to_grid(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix.reshape(*self._backbone.grid, *self._backbone.grid)
