"""The steps of ``method``, fast: one table of functions for each kind of device, and the choice between them.

``choose_kernels`` is the one place that chooses a form of the steps by the device. Sessions are handed a ``Kernels``.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import ChainConfig, MethodConfig
from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors
from m2n2_engine.method.edge_map import EdgeMap
from m2n2_engine.types import Image, Mask


class ClickMaps(Protocol):
    """What clicks on one image say: their coarse maps at the image's resolution, filled from the click, measured.

    Coarse maps are ``(k, h, w)`` float32, in steps of the walk, of k clicks at ``pixels`` ``(x, y)``.
    """

    @property
    def nbytes(self) -> int:
        """Memory held for the image, in bytes."""

    def find_edges(self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]) -> list[EdgeMap]:
        """The Markov-map of each click and its edges, for a decision by consensus."""

    def rank(self, coarse_maps: npt.NDArray[np.float32], pixels: Sequence[tuple[int, int]]) -> list[Any]:
        """What ``decide`` wants of each click, with ``nbytes``; it depends on no other click."""

    def decide(self, ranked: Sequence[Any], signs: Sequence[bool]) -> tuple[Mask, float]:
        """Steps 6 and 7 of the paper.

        Args:
            ranked: of each click of the prompt, in their order, as ``rank`` gave it.
            signs: True where the click is positive.

        Returns:
            The mask bool ``(H, W)``, and the mean score of the positive clicks, 0 to 1.
        """


class Kernels(Protocol):
    """The steps on one kind of device. All functions are safe under threads and keep nothing.

    A transition matrix is ``(n, n)``, ``n = h * w`` cells, row-major, on ``device``, in a form that the same kernels
    alone understand: float32 probabilities on the processor, scaled float16 on CUDA.
    """

    @property
    def device(self) -> torch.device:
        """Where transition matrices are. Factors are brought there from wherever they are."""

    @property
    def matrix_dtype(self) -> torch.dtype:
        """Of transition matrices; it tells how much memory they take."""

    def build_attention(self, factors: AttentionFactors) -> torch.Tensor:
        """Step 1: attention ``(n, n)`` float32 on ``device``, rows (last axis) summing to 1."""

    def build_transition(self, attention: torch.Tensor, chain: ChainConfig) -> torch.Tensor:
        """Step 2: the transition matrix of a whole attention ``(n, n)`` float32, which is overwritten."""

    def balance_factors(self, factors: AttentionFactors, chain: ChainConfig) -> tuple[BalancedFactors, torch.Tensor]:
        """Steps 1 and 2: what is kept of an image, on ``device``, and its transition matrix."""

    def restore_transition(self, balanced: BalancedFactors, chain: ChainConfig) -> torch.Tensor:
        """The matrix that ``balance_factors`` gave, to the last bit, without balancing again."""

    def from_probabilities(self, probabilities: torch.Tensor) -> torch.Tensor:
        """A transition matrix from its probabilities ``(n, n)``, on any device."""

    def to_probabilities(self, transition: torch.Tensor) -> torch.Tensor:
        """The float32 probabilities of a transition matrix, on ``device``; perhaps in the same memory."""

    def build_coarse_maps(
        self,
        transition: torch.Tensor,
        start_states: npt.NDArray[np.float32],
        method: MethodConfig,
        *,
        interpolate: bool = True,
    ) -> npt.NDArray[np.float32]:
        """Step 3, ``(k, h, w)`` in steps of the walk, as ``method.chain.build_coarse_maps``."""

    def click_maps_bytes(self, image_size: tuple[int, int], method: MethodConfig) -> int:
        """Memory of ``build_click_maps``, in bytes, but for some tables. image_size: ``(H, W)`` pixels."""

    def build_click_maps(self, image: Image, grid: tuple[int, int], method: MethodConfig) -> ClickMaps:
        """Steps 4 to 7 for clicks on one image: RGB uint8 ``(H, W, 3)``. grid: ``(h, w)`` cells."""

    def replace_modules(self, network: torch.nn.Module) -> None:
        """Put faster modules in the place of some in a frozen network: the same values, up to rounding."""

    def restore_mask(self, mask: Mask, reduced: Image, image: Image, range_sigma: float) -> Mask:
        """A mask of the working size at full size, its border along the image's edges.

        Args:
            mask: bool ``(h, w)``.
            reduced: RGB uint8 ``(h, w, 3)``.
            image: RGB uint8 ``(H, W, 3)``.
            range_sigma: standard deviation of the colour Gaussian over RGB in 0..1.
        """


@functools.lru_cache(maxsize=8)
def choose_kernels(device: str) -> Kernels:
    """The kernels for what a network on this device says: on CUDA with Triton its own, else the processor's.

    A transition matrix is where its kernels are: ``choose_kernels(str(matrix.device))`` are those that made it.

    Args:
        device: torch's name of it: ``cpu``, ``cuda``, ``cuda:N`` or another.
    """
    there = torch.device(device)
    if there.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from m2n2_engine.kernels.cuda import CudaKernels  # Triton is not everywhere

        return CudaKernels(there)
    return CpuKernels()
