"""Which device the network runs on, and why a GPU of this machine is not it.

Without a GPU the server works too, an order of magnitude slower. A GPU that is there and cannot be used is therefore
told wherever the device is.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from m2n2_engine.errors import ConfigurationError

_PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
_DRIVER_VERSION = Path("/proc/driver/nvidia/version")
_WINDOWS_GPU = Path("/dev/dxg")
"""Of Linux below Windows (WSL): the GPU of Windows, whosever it is."""

OLDEST_FUSED = (8, 0)
"""Compute capability from which on Triton, which compiles the fused kernels, promises to work: Ampere. Its README."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that torch sees. capability: of CUDA, as ``(8, 0)``."""

    name: str
    capability: tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Hardware:
    """What this machine has besides its processor.

    gpus: those that torch sees, by their index. architectures: that torch's build has code for, as ``sm_80`` and
    ``compute_80``. torch_cuda: the CUDA that torch was built for, None without. has_nvidia: whether a GPU of NVIDIA is
    on the bus. driver: of NVIDIA, where it is loaded. has_triton: whether it is installed. has_mps: whether torch
    reaches Apple's GPU.
    """

    gpus: Sequence[Gpu] = ()
    architectures: Sequence[str] = ()
    torch_cuda: str | None = None
    has_nvidia: bool = False
    driver: str | None = None
    has_triton: bool = False
    has_mps: bool = False

    @property
    def usable_gpus(self) -> list[int]:
        """Indices of the GPUs that torch's build has code for."""
        return [index for index, gpu in enumerate(self.gpus) if _can_run(gpu, self.architectures)]


def look_at_hardware() -> Hardware:
    """What there is, as torch and the system tell it."""
    import torch

    gpus = []
    if torch.cuda.is_available():
        found = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
        gpus = [Gpu(properties.name, (properties.major, properties.minor)) for properties in found]
    return Hardware(
        gpus=gpus,
        architectures=torch.cuda.get_arch_list() if gpus and torch.version.hip is None else (),
        torch_cuda=torch.version.cuda,
        has_nvidia=_find_nvidia(),
        driver=_read_driver(),
        has_triton=importlib.util.find_spec("triton") is not None,
        has_mps=torch.backends.mps.is_available(),
    )


def choose_device(device: str, hardware: Hardware | None = None) -> str:
    """The device that is meant: ``cpu``, ``mps`` or ``cuda:N``.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. ``auto`` never means ``mps``, where only the network
            would run on the GPU.
        hardware: None looks at this machine.

    Raises:
        ConfigurationError: There is no such device.
    """
    hardware = hardware or look_at_hardware()
    usable = [f"cuda:{index}" for index in hardware.usable_gpus]
    allowed = {"auto": usable[0] if usable else "cpu", "cpu": "cpu", **{name: name for name in usable}}
    if usable:
        allowed["cuda"] = usable[0]
    if hardware.has_mps:
        allowed["mps"] = "mps"
    if device not in allowed:
        why = explain_unused_gpu("cpu", hardware) if device.startswith("cuda") else None
        raise ConfigurationError(
            f"no device {device!r} on this machine: use one of {', '.join(allowed)}" + (f" ({why})" if why else "")
        )
    return allowed[device]


def explain_unused_gpu(device: str, hardware: Hardware | None = None) -> str | None:
    """Why a GPU of this machine is not used, or only in part, and what to do; None where all is as it should be.

    Args:
        device: That is used, as ``choose_device`` gave it for ``auto`` or a name of CUDA.
        hardware: None looks at this machine.
    """
    hardware = hardware or look_at_hardware()
    if device.startswith("cuda"):
        return _explain_slow_kernels(hardware.gpus[int(device.partition(":")[2])], hardware)
    if hardware.gpus:
        gpu = hardware.gpus[0]
        return (
            f"{gpu.name} has compute capability {_render(gpu.capability)}, and this build of torch has code for "
            f"{', '.join(hardware.architectures)} alone: install a build for it (docs/gpu.md), or set M2N2_DEVICE=cpu"
        )
    if not hardware.has_nvidia:
        return None
    if hardware.torch_cuda is None:
        remedy = "this torch is a build without CUDA: install a build for the GPU (docs/gpu.md)"
    elif hardware.driver is None:
        remedy = "no driver of NVIDIA is loaded: install one, or give the container the GPU"
    else:
        remedy = (
            f"torch for CUDA {hardware.torch_cuda} does not reach it by driver {hardware.driver}: install a newer "
            "driver (docs/gpu.md), give the container the GPU, or look at CUDA_VISIBLE_DEVICES"
        )
    return f"a GPU of NVIDIA is in this machine and not used: {remedy}, or set M2N2_DEVICE=cpu"


def _explain_slow_kernels(gpu: Gpu, hardware: Hardware) -> str | None:
    if not hardware.has_triton:
        return f"only the network runs on {gpu.name}: the fused kernels need Triton, so run `pip install triton`"
    if gpu.capability < OLDEST_FUSED:
        return (
            f"{gpu.name} has compute capability {_render(gpu.capability)}: Triton, which compiles the kernels, "
            f"promises to work from {_render(OLDEST_FUSED)} on. If clicks fail, set M2N2_DEVICE=cpu"
        )
    return None


def _can_run(gpu: Gpu, architectures: Sequence[str]) -> bool:
    """Whether a build has code for a GPU: machine code of its generation, or code that the driver compiles for it."""
    if not architectures:
        return True
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = re.sub(r"\D", "", digits)
        made_for = int(number[:-1] or 0), int(number[-1:] or 0)
        if made_for <= gpu.capability and (kind == "compute" or made_for[0] == gpu.capability[0]):
            return True
    return False


def _render(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _find_nvidia() -> bool:
    """Whether a display device of NVIDIA is on the bus, or the driver is loaded, or Windows has one to share."""
    if _DRIVER_VERSION.exists():
        return True
    for vendor in _PCI_DEVICES.glob("*/vendor"):
        try:
            kind = (vendor.parent / "class").read_text(encoding="ascii")
            if vendor.read_text(encoding="ascii").strip() == _NVIDIA and kind.startswith(_DISPLAY_CLASS):
                return True
        except OSError:
            continue
    return _WINDOWS_GPU.exists() and Path("/usr/lib/wsl/lib/libcuda.so.1").exists()


def _read_driver() -> str | None:
    """Version of NVIDIA's driver; None where it is not loaded."""
    try:
        text = _DRIVER_VERSION.read_text(encoding="utf-8")
    except OSError:
        return "of Windows" if _WINDOWS_GPU.exists() else None
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else "unknown"
