"""Which kernels a device gets."""

import importlib.util

import pytest
import torch

from m2n2_engine.config import ChainConfig
from m2n2_engine.kernels import choose_kernels
from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.kernels.cuda import CudaKernels


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu:1"])
def test_a_device_without_kernels_of_its_own_has_the_processor_s(device):
    kernels = choose_kernels(device)
    assert isinstance(kernels, CpuKernels)
    assert kernels.device == torch.device("cpu")


def test_cuda_has_its_own():
    kernels = choose_kernels("cuda:3")
    assert isinstance(kernels, CudaKernels)
    assert kernels.device == torch.device("cuda", 3)


def test_cuda_without_triton_has_the_processor_s(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert isinstance(choose_kernels("cuda:7"), CpuKernels)


def test_the_matrix_leads_to_the_kernels_that_made_it(make_balanced):
    kernels = choose_kernels("cpu")
    balanced, transition = kernels.balance_factors(make_balanced().factors, ChainConfig())
    assert balanced.rows.device == transition.device == kernels.device
    assert transition.dtype == kernels.matrix_dtype
    assert choose_kernels(str(transition.device)) is kernels
    torch.testing.assert_close(kernels.from_probabilities(transition.double()), kernels.to_probabilities(transition))
