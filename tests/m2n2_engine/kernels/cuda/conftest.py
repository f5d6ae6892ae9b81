"""What the tests of the fused kernels share."""

import pytest
import torch

from m2n2_engine.kernels.cpu import transition, upsample
from m2n2_engine.kernels.cuda import flood_fill
from m2n2_engine.session import session


@pytest.fixture(scope="session")
def device():
    """The GPU, where there is one; else the processor, on which Triton's interpreter runs the kernels."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def fused_everywhere(monkeypatch, device):
    """Where Triton's interpreter runs the kernels on the processor, the steps choose them there too."""
    if device.type == "cpu":
        for module in (session, transition, upsample):
            monkeypatch.setattr(module, "is_fused", lambda _device: True)
    return monkeypatch


@pytest.fixture
def narrow(monkeypatch):
    """The interpreter is slow by the element."""
    monkeypatch.setattr(flood_fill, "_LEAST_WIDTH", 1)
    monkeypatch.setattr(flood_fill, "_CHECK_EVERY_ROUNDS", 1)
    return monkeypatch
