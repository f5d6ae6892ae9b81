"""The steps on the processor: compiled by numba, spread over threads."""

from __future__ import annotations

import torch

from m2n2_engine.kernels.cpu import chain, click_maps, full_size, upsampling_weights
from m2n2_engine.method.chain import build_coarse_maps


class CpuKernels:
    """Implements ``kernels.Kernels``: a table of functions, which calls pass straight through."""

    device = torch.device("cpu")
    matrix_dtype = torch.float32

    build_attention = staticmethod(chain.build_attention)
    build_transition = staticmethod(chain.build_transition)
    balance_factors = staticmethod(chain.balance_factors)
    restore_transition = staticmethod(chain.restore_transition)
    from_probabilities = staticmethod(chain.from_probabilities)
    to_probabilities = staticmethod(chain.to_probabilities)
    build_coarse_maps = staticmethod(build_coarse_maps)
    click_maps_bytes = staticmethod(click_maps.click_maps_bytes)
    build_click_maps = staticmethod(upsampling_weights.build_click_maps)
    restore_mask = staticmethod(full_size.restore_mask)

    @staticmethod
    def replace_modules(network: torch.nn.Module) -> None:
        """Leave it: torch's own modules are the fastest there."""
