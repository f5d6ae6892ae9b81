"""Builds the Dockerfile and runs what comes out: podman, without a registry, on a Debian made by debootstrap.

Nothing is left on the machine but the folder given, with images, containers and volumes of its own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

RELEASE = "bookworm"
BASE = "localhost/debian:clean"
TOOLS = ("debootstrap", "podman", "runc")
# podman asks for more by default than a machine may allow it to give.
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


@dataclasses.dataclass(frozen=True)
class Podman:
    """podman with a store of its own. folder: large, and gone with ``rm -r``."""

    folder: Path

    def __call__(self, *arguments: str | Path, check: bool = True) -> str:
        """Its output; RuntimeError with what it said where it fails."""
        places = ["--root", self.folder / "store", "--runroot", self.folder / "run"]
        # cgroups of version 1 and machines without systemd are served too.
        command = ["podman", *places, "--runtime=runc", "--cgroup-manager=cgroupfs", *arguments]
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if check and done.returncode != 0:
            raise RuntimeError(f"podman {arguments[0]} ended with {done.returncode}: {done.stderr[-4000:]}")
        return done.stdout.strip()

    def succeeds(self, *arguments: str | Path) -> bool:
        try:
            self(*arguments)
        except RuntimeError:
            return False
        return True

    def import_base(self) -> None:
        """A clean Debian as the image BASE, made once."""
        if self.succeeds("image", "exists", BASE):
            return
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["debootstrap", "--variant=minbase", RELEASE, root], check=True, stdout=subprocess.DEVNULL)
        archive = self.folder / "root.tar"
        subprocess.run(["tar", "--create", "--file", archive, "--directory", root, "."], check=True)
        shutil.rmtree(root)
        self("import", archive, BASE)
        archive.unlink()

    def build(self, context: Path, target: str, tag: str) -> None:
        """The target of the Dockerfile; torch and all others come from where pip gets its packages on this machine."""
        self(
            "build",
            "--format=docker",
            "--isolation=chroot",
            "--network=host",
            f"--target={target}",
            f"--tag={tag}",
            f"--build-arg=DEBIAN={BASE}",
            "--build-arg=TORCH_INDEX_URL=",
            *LIMITS,
            *self._pip_mounts(),
            context,
        )

    def start(self, image: str, *options: str) -> str:
        """Id of a container as locked down as deploy/docker-compose.yml has it, on the network of this machine."""
        locked = ["--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges"]
        return self("run", "--detach", "--network=host", *locked, *LIMITS, *options, image)

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self(kind, "inspect", name))[0]

    def _pip_mounts(self) -> list[str]:
        """Mounts that give the build this machine's pip configuration, and the files and folders that it names."""
        folder = self.folder / "pip"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mounts = {str(folder): "/run/pip"}
        lines = ["[global]"]
        for name, value in _pip_settings().items():
            words = []
            for word in value.split():
                path = Path(word.removeprefix("file://"))
                if path.is_absolute() and path.is_file():
                    shutil.copy(path, folder)
                    word = f"/run/pip/{path.name}"
                elif path.is_absolute() and path.is_dir():
                    # An index lies beside its files.
                    shared = path.parent if word.startswith("file://") else path
                    mounts[str(shared)] = str(shared)
                words.append(word)
            lines.append(f"{name} = {' '.join(words)}")
        (folder / "pip.conf").write_text("\n".join(lines) + "\n")
        mounts[str(folder / "pip.conf")] = "/etc/pip.conf"
        return [f"--volume={source}:{target}:ro" for source, target in mounts.items()]


def _pip_settings() -> dict[str, str]:
    """pip's settings on this machine; one of the environment wins."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines() if "=" in line]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {key.rpartition(".")[2]: value.strip("'\"") for key, value in ordered}
