"""The steps on an NVIDIA GPU as Triton kernels, or as torch where that is as fast. Only ``choose_kernels`` imports it.

The oracle of each kernel's test is the plain form in ``method`` or the processor's kernel. Block sizes were measured on
an H200 beside some six others each, for 128 x 128 cells and a megapixel, and are within a twentieth of the fastest;
those of scaling and of arrivals, a few percent of their steps, are chosen by arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from m2n2_engine.config import ChainConfig, MethodConfig
from m2n2_engine.kernels.cpu.full_size import restore_mask
from m2n2_engine.kernels.cuda.attention import HALF_SCALE, build_tempered
from m2n2_engine.kernels.cuda.balancing import balance, scale
from m2n2_engine.kernels.cuda.click_maps import DeviceClickMaps
from m2n2_engine.kernels.cuda.flood_fill import LEAST_WIDTH
from m2n2_engine.kernels.cuda.group_norm import replace_group_norms
from m2n2_engine.kernels.cuda.upsample import WindowUpsampler, upsampler_bytes
from m2n2_engine.kernels.cuda.walk import find_arrivals
from m2n2_engine.method.chain import AttentionFactors, BalancedFactors
from m2n2_engine.types import Image


class CudaKernels:
    """Implements ``kernels.Kernels``. Matrices are float16, HALF_SCALE times the probabilities."""

    matrix_dtype = torch.float16

    click_maps_bytes = staticmethod(upsampler_bytes)
    restore_mask = staticmethod(restore_mask)
    replace_modules = staticmethod(replace_group_norms)

    def __init__(self, device: torch.device, least_width: int = LEAST_WIDTH) -> None:
        """Kernels for a device.

        Args:
            device: a CUDA device; the processor where Triton's interpreter runs the kernels.
            least_width: of the kernel that fills maps, in pixels. A GPU's compiler is called for each width.
        """
        self.device = device
        self.least_width = least_width

    def build_attention(self, factors: AttentionFactors) -> torch.Tensor:
        """As ``Kernels.build_attention``, in half precision on the way: each value is right to 2**-11 of itself."""
        # A temperature of 1 changes nothing.
        return self.to_probabilities(build_tempered(self._bring(factors), 1.0))

    def build_transition(self, attention: torch.Tensor, chain: ChainConfig) -> torch.Tensor:
        """As ``Kernels.build_transition``."""
        attention = attention.to(self.device)
        # The row's largest element is 1 before the power, so that no row underflows as a whole.
        attention.div_(attention.amax(dim=1, keepdim=True)).pow_(1.0 / chain.temperature)
        tempered = self.from_probabilities(attention.div_(attention.sum(dim=1, keepdim=True)))
        return scale(tempered, *balance(tempered, chain))

    def balance_factors(self, factors: AttentionFactors, chain: ChainConfig) -> tuple[BalancedFactors, torch.Tensor]:
        """As ``Kernels.balance_factors``."""
        factors = self._bring(factors)
        tempered = build_tempered(factors, chain.temperature)
        rows, columns = balance(tempered, chain)
        return BalancedFactors(factors, rows, columns), scale(tempered, rows, columns)

    def restore_transition(self, balanced: BalancedFactors, chain: ChainConfig) -> torch.Tensor:
        """As ``Kernels.restore_transition``."""
        balanced = balanced.to(str(self.device))
        return scale(build_tempered(balanced.factors, chain.temperature), balanced.rows, balanced.columns)

    def from_probabilities(self, probabilities: torch.Tensor) -> torch.Tensor:
        """As ``Kernels.from_probabilities``."""
        return (probabilities.to(self.device, torch.float32) * HALF_SCALE).half()

    def to_probabilities(self, transition: torch.Tensor) -> torch.Tensor:
        """As ``Kernels.to_probabilities``."""
        return transition.float().div_(HALF_SCALE)

    def build_coarse_maps(
        self,
        transition: torch.Tensor,
        start_states: npt.NDArray[np.float32],
        method: MethodConfig,
        *,
        interpolate: bool = True,
    ) -> npt.NDArray[np.float32]:
        """As ``Kernels.build_coarse_maps``."""
        states = torch.from_numpy(start_states.reshape(len(start_states), -1)).to(self.device)
        arrivals = find_arrivals(transition, states, method, interpolate)
        return np.asarray(arrivals.cpu()).reshape(start_states.shape)

    def build_click_maps(self, image: Image, grid: tuple[int, int], method: MethodConfig) -> DeviceClickMaps:
        """As ``Kernels.build_click_maps``."""
        upsampler = WindowUpsampler(image, grid, method, self.device)
        return DeviceClickMaps(upsampler, method, self.least_width)

    def _bring(self, factors: AttentionFactors) -> AttentionFactors:
        return factors.to(str(self.device))
