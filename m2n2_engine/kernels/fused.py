"""Where the fused Triton kernels take the place of plain torch, and what a matrix in half precision holds."""

from __future__ import annotations

import importlib.util

import torch

HALF_SCALE = 2.0**15
"""A float16 matrix holds this times its values, which are 0 to 1: float16 keeps 11 bits of all that are above 2e-9, and
the rest is lost only below 2e-12. An entry of an even row is 6e-5 at the 128 grid."""


def is_fused(device: torch.device) -> bool:
    """Whether the kernels of ``kernels.cuda`` run there: on CUDA, where Triton is, which torch's builds bring."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
