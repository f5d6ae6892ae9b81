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
import time
from pathlib import Path
from typing import Any

from tests.helpers.image.pip_access import share_pip

RELEASE = "bookworm"
BASE = "localhost/debian:clean"
TOOLS = ("debootstrap", "podman", "runc")
# podman asks for more by default than a machine may allow it to give.
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


@dataclasses.dataclass(frozen=True)
class Podman:
    """podman with a store of its own. folder: large, and gone with ``rm -r``."""

    folder: Path

    @property
    def command(self) -> list[str | Path]:
        """What every command of it begins with."""
        places = ["--root", self.folder / "store", "--runroot", self.folder / "run"]
        # cgroups of version 1 and machines without systemd are served too.
        return ["podman", *places, "--runtime=runc", "--cgroup-manager=cgroupfs"]

    def __call__(self, *arguments: str | Path) -> str:
        """Its output; RuntimeError with what it said where it fails."""
        command = [*self.command, *arguments]
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"podman {arguments[0]} ended with {done.returncode}: {done.stderr[-4000:]}")
        return done.stdout.strip()

    def succeeds(self, *arguments: str | Path) -> bool:
        try:
            self(*arguments)
        except RuntimeError:
            return False
        return True

    def write_program(self, path: Path) -> Path:
        """The engine by one word, as an operator names it, at this path, which may be called podman too."""
        program, *places = map(str, self.command)
        limited = f'if [ "$1" = run ]; then shift; set -- run {" ".join(LIMITS)} "$@"; fi'
        path.write_text(f'#!/bin/sh\n{limited}\nexec {shutil.which(program)} {" ".join(places)} "$@"\n')
        path.chmod(0o755)
        return path

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

    def build(self, context: Path, target: str, tag: str) -> Any:
        """The target of the Dockerfile as an image, and what the engine knows of it.

        torch and all others come from where pip gets its packages on this machine. Says how long it took, and its size.
        """
        self.import_base()
        started = time.monotonic()
        shared = share_pip(self.folder / "pip")
        volumes = [f"--volume={source}:{inside}:ro" for source, inside in shared.items()]
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
            *volumes,
            context,
        )
        built = self.inspect("image", tag)
        sys.stdout.write(f"\n{tag}: built in {time.monotonic() - started:.0f} s, {built['Size'] / 1e6:.0f} MB\n")
        return built

    def start(self, image: str, *options: str, network: str = "host") -> str:
        """Id of a container as locked down as deploy/docker-compose.yml has it, by itself on this machine's network."""
        locked = [
            "--read-only",
            "--read-only-tmpfs=false",
            "--tmpfs=/tmp",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
        ]
        return self("run", "--detach", f"--network={network}", *locked, *LIMITS, *options, image)

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self(kind, "inspect", name))[0]
