"""What the tests of the fused kernels share."""

import pytest

from m2n2_engine import session
from m2n2_engine.ops import transition, upsample


@pytest.fixture
def fused_everywhere(monkeypatch):
    """The steps choose the fused kernels on the CPU too, where Triton's interpreter runs them."""
    for module in (session, transition, upsample):
        monkeypatch.setattr(module, "is_fused", lambda _device: True)
    return monkeypatch
