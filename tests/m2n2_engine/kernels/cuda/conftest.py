"""What the tests of the GPU's kernels share."""

import pytest
import torch

from m2n2_engine.kernels.cuda import CudaKernels


@pytest.fixture(scope="session")
def device():
    """The GPU, where there is one; else the processor, on which Triton's interpreter runs the kernels."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def kernels(device):
    """The GPU's kernels; narrow ones, for the interpreter is slow by the element."""
    return CudaKernels(device, least_width=1)
