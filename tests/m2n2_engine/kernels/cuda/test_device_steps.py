"""The benchmark's table of the GPU's kernels: every row runs, both forms of it."""

import dataclasses

import pytest

from m2n2_engine.backbones import load_backbone
from m2n2_engine.config import ChainConfig, EngineConfig, MethodConfig
from m2n2_engine.tools.benchmark.device_steps import compare_device_steps

METHOD = MethodConfig(ChainConfig(balancing_rounds=3), max_steps=8)


@pytest.mark.usefixtures("one_thread")
def test_every_kernel_has_another_form_to_be_compared_with(draw_disc, kernels):
    image, _ = draw_disc(12, 8, (5, 4), 2)
    config = EngineConfig(backbone="tiny", device=kernels.device.type, grid=6, threads=1)
    loaded = dataclasses.replace(load_backbone(config), method=METHOD)
    network, *compared = compare_device_steps(kernels, loaded, image, repeats=1, steps=2)
    assert network.ratio is None
    assert [step.what[0] for step in compared] == list("112334456")
    assert all(step.ratio is not None and step.ratio > 0 for step in compared)
