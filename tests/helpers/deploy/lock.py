"""Writes the lock files of the image anew: `make lock`.

Every package that an image installs, with the sha256 of each of its files, for Linux on x86_64 and aarch64 and Debian's
Python. torch and what only its CUDA build needs are a file of their own, so that another build of torch can take their
place. That of the CPU build lies in PyTorch's own index: its two lines are kept by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.deploy.pins import EXTRAS, PRODUCT
from tests.helpers.paths import ROOT

PRODUCT_LOCK = ROOT / "deploy" / "image" / "requirements.lock"
TORCH_CUDA_LOCK = ROOT / "deploy" / "image" / "torch-cuda.lock"
TORCH_CPU_LOCK = ROOT / "deploy" / "image" / "torch-cpu.lock"
RAY_LOCK = ROOT / "deploy" / "ray" / "requirements.lock"

HEADER = "# Written by `make lock`: every package of {what}, with the sha256 of each of its files.\n"
PYTHON = "3.11"
"""Debian 12's."""

MACHINES = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
"""Of uv's names for platforms. manylinux_2_28: torch's own wheels ask for it."""

OPENCV, HEADLESS = "opencv-python==", "opencv-python-headless=="
"""An image has the same release without windows."""

_OF_TORCH = re.compile(r"torch|triton|nvidia-.+|cuda-.+")
_LINE = re.compile(r"(?P<name>[a-z0-9-]+)(\[[a-z,]+\])?==(?P<version>\S+)((?: --hash=sha256:[0-9a-f]{64})+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock file. text: as it stands there, over several lines. hashes: 64 hex digits each."""

    name: str
    version: str
    hashes: tuple[str, ...]
    text: str


def list_direct() -> list[str]:
    """What an image is asked for, torch among it."""
    return [requirement.replace(OPENCV, HEADLESS) for requirement in PRODUCT]


def read_lock(text: str) -> list[Locked]:
    """The packages of a lock file.

    Raises:
        ValueError: A package without a version, without a hash or with anything else, by its line.
    """
    lines = [line for line in text.splitlines(keepends=True) if line.strip() and not line.lstrip().startswith("#")]
    packages = []
    for part in re.split(r"(?<!\\)\n(?=\S)", "".join(lines)):
        line = " ".join(part.replace("\\\n", " ").split())
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"no package with version and hashes: {line}")
        hashes = tuple(re.findall(r"sha256:([0-9a-f]{64})", line))
        packages.append(Locked(found["name"], found["version"], hashes, part.rstrip("\n") + "\n"))
    return packages


def resolve(uv: str, requirements: Sequence[str]) -> list[Locked]:
    """Requirements and all that they need, by name, with hashes.

    Raises:
        ValueError: The machines need different packages.
    """
    found = []
    for machine in MACHINES:
        command = [uv, "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--only-binary=:all:", f"--python-version={PYTHON}", f"--python-platform={machine}"]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(requirements))
            file.flush()
            done = subprocess.run([*command, file.name], stdout=subprocess.PIPE, text=True, check=True)
        found.append(read_lock(done.stdout))
    if any(packages != found[0] for packages in found):
        raise ValueError(f"{' and '.join(MACHINES)} need different packages: the lock files have no place for that")
    return found[0]


def write(path: Path, what: str, packages: Sequence[Locked]) -> None:
    """Write a lock file."""
    path.write_text(HEADER.format(what=what) + "".join(package.text for package in packages))


def main() -> None:
    """Write them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="uv's program")
    uv = parser.parse_args().uv
    packages = resolve(uv, list_direct())
    write(PRODUCT_LOCK, "the image but torch", [one for one in packages if not _OF_TORCH.fullmatch(one.name)])
    write(TORCH_CUDA_LOCK, "torch's CUDA build", [one for one in packages if _OF_TORCH.fullmatch(one.name)])
    pinned = [f"{one.name}=={one.version}" for one in packages]
    with_ray = resolve(uv, [*pinned, *EXTRAS["ray"]])
    write(RAY_LOCK, "Ray that the image does not have", [one for one in with_ray if one not in packages])


if __name__ == "__main__":
    main()
