"""The benchmark's table of fused kernels: every row runs, both forms of it."""

import dataclasses

import pytest

from m2n2_engine.backbones import load_backbone
from m2n2_engine.config import ChainConfig, EngineConfig, MethodConfig
from m2n2_engine.tools.benchmark import device_steps

METHOD = MethodConfig(ChainConfig(balancing_rounds=3), max_steps=8)


@pytest.mark.usefixtures("one_thread", "fused_everywhere")
def test_every_kernel_has_another_form_to_be_compared_with(draw_disc, device, narrow):
    narrow.setattr(device_steps, "_STEPS", 2)
    image, _ = draw_disc(12, 8, (5, 4), 2)
    config = EngineConfig(backbone="tiny", device=device.type, grid=6, threads=1)
    loaded = dataclasses.replace(load_backbone(config), method=METHOD)
    network, *kernels = device_steps.compare_device_steps(loaded, image, 1)
    assert network.ratio is None
    assert [kernel.what[0] for kernel in kernels] == list("12334456")
    assert all(kernel.ratio is not None and kernel.ratio > 0 for kernel in kernels)
