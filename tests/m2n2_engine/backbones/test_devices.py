"""The device that is meant, and why a GPU that is there is not it. Machines are simulated, but for this one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from m2n2_engine.backbones import LoadedBackbone, load_backbone
from m2n2_engine.backbones.devices import Gpu, Hardware, choose_device, explain_unused_gpu, look_at_hardware
from m2n2_engine.config import EngineConfig
from m2n2_engine.engine import build_engine
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import Click

HOPPER = Gpu("NVIDIA H200", (9, 0))
PASCAL = Gpu("NVIDIA GTX 1080", (6, 1))
TURING = Gpu("NVIDIA T4", (7, 5))
CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
NOTHING = Hardware()
TWO_GPUS = Hardware(
    gpus=(HOPPER, HOPPER),
    architectures=CUDA_13,
    torch_cuda="13.0",
    has_nvidia=True,
    driver="580.65.06",
    has_triton=True,
)
APPLE = Hardware(has_mps=True)


@pytest.mark.parametrize(
    ("asked", "hardware", "device"),
    [
        ("auto", NOTHING, "cpu"),
        ("auto", APPLE, "cpu"),
        ("mps", APPLE, "mps"),
        ("auto", TWO_GPUS, "cuda:0"),
        ("cuda", TWO_GPUS, "cuda:0"),
        ("cuda:1", TWO_GPUS, "cuda:1"),
        ("cpu", TWO_GPUS, "cpu"),
        ("auto", dataclasses.replace(TWO_GPUS, gpus=(PASCAL, HOPPER)), "cuda:1"),
        ("auto", dataclasses.replace(TWO_GPUS, gpus=(PASCAL,)), "cpu"),
        # ROCm's builds name their architectures in another way, and give none here.
        ("auto", dataclasses.replace(TWO_GPUS, gpus=(PASCAL,), architectures=()), "cuda:0"),
        # Code of a generation runs on its later members; code that the driver compiles, on all later ones.
        ("auto", dataclasses.replace(TWO_GPUS, gpus=(Gpu("L4", (8, 9)),)), "cuda:0"),
        ("auto", dataclasses.replace(TWO_GPUS, gpus=(Gpu("future", (15, 0)),)), "cuda:0"),
        ("auto", dataclasses.replace(TWO_GPUS, gpus=(Gpu("future", (11, 0)),)), "cpu"),
    ],
)
def test_a_device_is_chosen(asked: str, hardware: Hardware, device: str) -> None:
    assert choose_device(asked, hardware) == device


@pytest.mark.parametrize(("asked", "hardware"), [("cuda", NOTHING), ("cuda:2", TWO_GPUS), ("mps", TWO_GPUS)])
def test_a_device_that_is_not_there(asked: str, hardware: Hardware) -> None:
    with pytest.raises(ConfigurationError, match=rf"no device '{asked}' on this machine: use one of auto, cpu"):
        choose_device(asked, hardware)


def test_a_gpu_that_is_asked_for_and_too_old_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no device 'cuda'.*GTX 1080 has compute capability 6\.1"):
        choose_device("cuda", dataclasses.replace(TWO_GPUS, gpus=(PASCAL,)))


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        (Hardware(has_nvidia=True), "this torch is a build without CUDA: install a build for the GPU"),
        (Hardware(has_nvidia=True, torch_cuda="13.0"), "no driver of NVIDIA is loaded"),
        (
            Hardware(has_nvidia=True, torch_cuda="13.0", driver="470.256.02"),
            "torch for CUDA 13.0 does not reach it by driver 470.256.02: install a newer driver",
        ),
        (dataclasses.replace(TWO_GPUS, gpus=(PASCAL,)), "has code for sm_75, sm_80"),
    ],
)
def test_a_gpu_that_is_not_used_is_told_with_its_reason_and_what_silences_it(hardware: Hardware, said: str) -> None:
    told = explain_unused_gpu(choose_device("auto", hardware), hardware)
    assert told is not None
    assert said in told
    assert told.endswith("or set M2N2_DEVICE=cpu")


@pytest.mark.parametrize("hardware", [NOTHING, APPLE, TWO_GPUS, Hardware(torch_cuda="13.0", has_triton=True)])
def test_nothing_is_told_of_a_machine_that_is_used_as_it_is(hardware: Hardware) -> None:
    assert explain_unused_gpu(choose_device("auto", hardware), hardware) is None


def test_a_gpu_that_is_used_in_part_is_told() -> None:
    without = dataclasses.replace(TWO_GPUS, has_triton=False)
    assert "the fused kernels need Triton" in str(explain_unused_gpu("cuda:0", without))
    turing = dataclasses.replace(TWO_GPUS, gpus=(HOPPER, TURING))
    assert "NVIDIA T4 has compute capability 7.5" in str(explain_unused_gpu("cuda:1", turing))


def test_this_machine_is_looked_at() -> None:
    found = look_at_hardware()
    assert len(found.gpus) == torch.cuda.device_count()
    assert choose_device("auto", found) == ("cuda:0" if found.usable_gpus else "cpu")


def test_the_status_tells_why_the_gpu_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    unreached = Hardware(has_nvidia=True, torch_cuda="13.0", driver="470.256.02")
    monkeypatch.setattr("m2n2_engine.backbones.look_at_hardware", lambda: unreached)
    config = EngineConfig(backbone="tiny", grid=8)
    engine = build_engine(load_backbone(config), config)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert engine.status().device_warning == line
    assert "driver 470.256.02" in line
    chosen = dataclasses.replace(config, device="cpu")
    assert build_engine(load_backbone(chosen), chosen).status().device_warning is None


class OnAnotherDevice:
    """A backbone that says it runs on Apple's GPU. Its factors are on the processor, where that GPU is not."""

    device = "mps"

    def __init__(self, loaded: LoadedBackbone) -> None:
        self._backbone = loaded.backbone
        self.name, self.grid = loaded.backbone.name, loaded.backbone.grid
        self.fingerprint, self.extract = loaded.backbone.fingerprint, loaded.backbone.extract


def test_behind_apple_s_gpu_all_else_runs_on_the_processor() -> None:
    config = EngineConfig(backbone="tiny", grid=8, device="cpu")
    loaded = load_backbone(config)
    image = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    masks = []
    for backbone in (loaded.backbone, OnAnotherDevice(loaded)):
        engine = build_engine(dataclasses.replace(loaded, backbone=backbone), config)
        assert engine.status().device == backbone.device
        masks.append(engine.segment(image, [Click(20, 20)]).mask)
    np.testing.assert_array_equal(masks[0], masks[1])
