"""A real Label Studio in a container of podman's: data in the volume of docker-compose.yml, its key out of the secrets.

It is that of a virtual environment here, for the image of others cannot be fetched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backend.tools.local_server import find_port
from backend.tools.studio.processes import Account, make_label_studio
from tests.helpers.image.podman import BASE, LIMITS, Podman

VOLUME = "m2n2_label-studio"
_NAME = "label-studio"
_START_SECONDS = 600
_DOCKER = """#!/bin/sh
# Compose's service is one container.
case "$*" in
    "compose --project-directory deploy stop label-studio") exec podman stop --time=10 {name} ;;
    "compose --project-directory deploy up --detach --wait") podman start {name} && exec {wait} ;;
    *) echo "docker $*: not known here" >&2 && exit 1 ;;
esac
"""


@dataclasses.dataclass(frozen=True)
class Service:
    """One that runs. data: where its volume lies here."""

    url: str
    data: Path


def _wait(url: str) -> str:
    asked = f"--silent --fail --retry {_START_SECONDS} --retry-delay 1 --retry-all-errors"
    return f"curl {asked} --output /dev/null {url}/health"


def write_docker(path: Path, url: str) -> None:
    """What stands for docker: the lines of docs/operate/backup.md really stop the service at ``url``, and start it."""
    path.write_text(_DOCKER.format(name=_NAME, wait=_wait(url)))
    path.chmod(0o755)


@contextlib.contextmanager
def run_service(podman: Podman, environment: Path, settings: Path, owner: Account) -> Iterator[Service]:
    """It serves; it and its volume are gone after the block.

    environment: the virtual environment with Label Studio. settings: a folder as ``deploy``, with its secrets.
    """
    podman.import_base()
    podman("volume", "create", VOLUME)
    data = Path(podman.inspect("volume", VOLUME)["Mountpoint"])
    server = make_label_studio(environment, data, owner, find_port())
    (data / "secret_key").unlink()
    environ = {name: value for name, value in server.environ.items() if os.environ.get(name) != value}
    environ["SECRET_KEY"] = ""
    environ["SECRET_KEY_FILE"] = str(settings / "secrets" / "label_studio_secret_key")
    base = environment.resolve() / "bin" / "python"
    asked = [base, "-c", "import sys; print(sys.base_prefix)"]
    prefix = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    # Each at its own path. Programs and libraries are those of this machine, which Python there was made for.
    folders = {"/usr", prefix, str(environment.absolute()), str(environment.resolve()), str(settings)}
    options = [f"--volume={folder}:{folder}:ro" for folder in sorted(folders)]
    options += [f"--volume={VOLUME}:{data}", f"--workdir={data}", f"--name={_NAME}", "--network=host", *LIMITS]
    options += [f"--env={name}={value}" for name, value in environ.items()]
    entry = f'--entrypoint=["/bin/sh", "{settings / "label-studio" / "start.sh"}"]'
    try:
        podman("run", "--detach", *options, entry, BASE, *server.command)
        subprocess.run(_wait(server.url).split(), check=True)
        yield Service(server.url, data)
    finally:
        podman("rm", "--force", "--ignore", "--time=5", _NAME)
        podman("volume", "rm", "--force", VOLUME)
