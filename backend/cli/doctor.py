"""``m2n2 doctor``: every precondition of the server, each with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from backend.http.ports import PortTaken, check_port
from backend.settings import Settings
from backend.tools.context import ServerToolSettings
from m2n2_engine.backbones import BACKBONES, choose_backbone
from m2n2_engine.backbones.devices import choose_device, explain_unused_gpu
from m2n2_engine.config import MEBIBYTE, EngineConfig
from m2n2_engine.errors import M2N2Error
from m2n2_engine.processors import count_allowed_processors, count_processors
from m2n2_engine.tools.context import output
from m2n2_engine.weights import store
from m2n2_engine.weights.catalogue import WEIGHTS

_OLDEST_PYTHON = (3, 11)
WANTED_FREE_BYTES = 1024 * MEBIBYTE
"""Of the cache folder's disk: the embedded weights take 90 MB, others up to several GB."""


class _Problem(Exception):
    """What is wrong and what to do."""


def run_doctor(settings: ServerToolSettings, wanted_free_bytes: int = WANTED_FREE_BYTES) -> bool:
    """Print a line for each check.

    Args:
        settings: What is checked.
        wanted_free_bytes: Least free space of the cache folder's disk, in bytes.

    Returns:
        Whether all are ok.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _check_python),
        ("torch", _check_torch),
        ("device", lambda: _check_device(settings.engine)),
        ("backbone", lambda: _check_backbone(settings.engine)),
        ("weights", lambda: _check_weights(settings.engine)),
        ("cache folder", lambda: _check_cache_folder(settings.engine.weights.cache_folder, wanted_free_bytes)),
        ("disk cache", lambda: _check_disk_cache(settings.engine)),
        ("port", lambda: _check_ports(settings.server)),
    ]
    verdicts = [_report(name, check) for name, check in checks]
    return all(verdicts)


def _report(name: str, check: Callable[[], str]) -> bool:
    try:
        text, is_ok = check(), True
    except (_Problem, M2N2Error) as problem:
        text, is_ok = str(problem), False
    verdict = "[green]ok     [/]" if is_ok else "[red]problem[/]"
    output.print(f"{verdict} {name:<13}", end="")
    output.print(text, markup=False, highlight=False)
    return is_ok


def _check_python() -> str:
    if sys.version_info < _OLDEST_PYTHON:
        raise _Problem(f"Python {platform.python_version()}: install Python 3.11 or newer")
    return f"Python {platform.python_version()}"


def _check_torch() -> str:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise _Problem(f"torch does not import ({error}): run `make setup`") from None
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return f"torch {torch.__version__}, {build}"


def _check_device(config: EngineConfig) -> str:
    import torch

    device = choose_device(config.device)
    warning = None if config.device in ("cpu", "mps") else explain_unused_gpu(device)
    if warning is not None:
        raise _Problem(f"{device}: {warning}")
    if not device.startswith("cuda"):
        usable, allowed = count_processors(), count_allowed_processors()
        quota = "" if usable == allowed else f" of {allowed}: the quota of the container, or of the group that it is in"
        return f"{device}, {usable} processors{quota}"
    properties = torch.cuda.get_device_properties(device)
    return f"{device}, {properties.name}, {properties.total_memory // MEBIBYTE} MiB"


def _check_backbone(config: EngineConfig) -> str:
    name, reason = choose_backbone(config, choose_device(config.device))
    return f"{name}: {reason} (others: {', '.join(other for other in BACKBONES if other != name)})"


def _check_weights(config: EngineConfig) -> str:
    name, _ = choose_backbone(config, choose_device(config.device))
    if name not in WEIGHTS:
        return f"{name} needs none"
    if not store.is_at_hand(name, config.weights):
        raise _Problem(f"{name} is not at hand: run `m2n2 weights get {name}`")
    compared = store.verify(name, config.weights)
    return f"{name}: {len(compared)} files have their recorded sha256"


def _check_cache_folder(folder: Path, wanted_free_bytes: int) -> str:
    free = _find_free_bytes(folder, "M2N2_CACHE_FOLDER")
    if free < wanted_free_bytes:
        raise _Problem(f"{folder}: {free // MEBIBYTE} MiB free: make room, or set M2N2_CACHE_FOLDER")
    return f"{folder}, {free // (1024 * MEBIBYTE)} GiB free"


def _check_disk_cache(config: EngineConfig) -> str:
    from m2n2_engine.cache.disk import DiskStore
    from m2n2_engine.cache.private_folder import NotPrivate

    folder, budget = config.disk_cache_folder, config.disk_cache_bytes
    if not budget:
        return "off: M2N2_DISK_CACHE_MIB is 0"
    free = _find_free_bytes(folder, "M2N2_DISK_CACHE_FOLDER")
    store = DiskStore(folder, budget)
    try:
        store.check_folder()
    except NotPrivate as problem:
        raise _Problem(str(problem)) from None
    images = store.list_images()
    used = sum(image.nbytes for image in images)
    state = f"{folder}: {len(images)} images, {used // MEBIBYTE} of {budget // MEBIBYTE} MiB"
    if free < budget - used:
        raise _Problem(f"{state}, but only {free // MEBIBYTE} MiB free: make room, or lower M2N2_DISK_CACHE_MIB")
    return f"{state}, {free // MEBIBYTE} MiB free"


def _find_free_bytes(folder: Path, variable: str) -> int:
    """Of the disk that a folder is or will be on; a problem where it cannot be written to."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise _Problem(f"{existing} is not writable: set {variable} to a folder that is")
    return shutil.disk_usage(existing).free


def _check_ports(settings: Settings) -> str:
    ports = {"M2N2_PORT": settings.port}
    if settings.cvat_port is not None:
        ports["M2N2_CVAT_PORT"] = settings.cvat_port
    for variable, port in ports.items():
        try:
            check_port(port, variable, settings.host)
        except PortTaken as problem:
            raise _Problem(str(problem)) from None
    free = " and ".join(map(str, ports.values()))
    return f"{free} {'are' if len(ports) > 1 else 'is'} free at {settings.host}"
