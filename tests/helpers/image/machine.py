"""A machine to follow pages on: a container of a clean Debian 12 whose process 1 is systemd, with a network of its own.

It reaches the package registries until it is cut off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.helpers.deploy.documents import Page
from tests.helpers.image.podman import BASE, LIMITS, Podman

_IMAGE = "localhost/debian:machine"
_BOOT_SECONDS = 120
# What every Debian on a machine has, and debootstrap's smallest has not. apt asks nobody, as nobody is there.
_CONTAINERFILE = f"""FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends systemd systemd-sysv dbus ca-certificates openssl \\
    iproute2 && echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/90yes
"""


@dataclasses.dataclass(frozen=True)
class Machine:
    """One that runs. identity: of its container."""

    podman: Podman
    identity: str

    def run(self, command: str) -> str:
        """What a line for its shell prints, without what it says of errors. Raises RuntimeError where it fails."""
        return self.podman("exec", "--workdir=/root", self.identity, "sh", "-c", command)

    def follow(self, page: Page, workdir: str = "/root") -> str:
        """What the page's script printed, which is kept beside the images too."""
        started = time.monotonic()
        # git: a clone of another user's folder is refused.
        environ = ["--env=GIT_CONFIG_COUNT=1", "--env=GIT_CONFIG_KEY_0=safe.directory", "--env=GIT_CONFIG_VALUE_0=*"]
        command = [*self.podman.command, "exec", *environ, f"--workdir={workdir}", self.identity, "bash", "-c"]
        log = self.podman.folder / f"{page.name}.log"
        with log.open("wb") as opened:
            done = subprocess.run([*command, page.make_script()], stdout=opened, stderr=subprocess.STDOUT, check=False)
        text = log.read_text(errors="replace")
        assert done.returncode == 0, text[-4000:]
        sys.stdout.write(f"\n{page.name}: followed in {time.monotonic() - started:.0f} s\n")
        return text

    def post(self, url: str, body: object) -> Any:
        """The answer to a JSON body, as JSON, of a server that this machine reaches; whatever its certificate says."""
        asked = ["curl", "--silent", "--show-error", "--fail", "--insecure", "--json", "@-", url]
        command = [*self.podman.command, "exec", "--interactive", self.identity, *asked]
        done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def cut_off(self) -> None:
        """Leave it loopback alone."""
        self.run("ip link delete tap0")


@contextlib.contextmanager
def start_machine(podman: Podman, folder: Path, mounts: Mapping[str, str]) -> Iterator[Machine]:
    """One that is gone after the block. folder: for its image. mounts: folders or files here -> where they are there.
    What lies outside of its /var is not written to."""
    podman.import_base()
    (folder / "Containerfile").write_text(_CONTAINERFILE)
    podman("build", "--isolation=chroot", "--network=host", f"--tag={_IMAGE}", *LIMITS, folder)
    volumes = [
        f"--volume={source}:{inside}" + ("" if inside.startswith("/var/") else ":ro")
        for source, inside in mounts.items()
    ]
    options = ["--systemd=always", "--privileged", "--network=slirp4netns", *LIMITS, *volumes]
    identity = podman("run", "--detach", *options, _IMAGE, "/sbin/init")
    try:
        _wait_for_systemd(podman, identity)
        yield Machine(podman, identity)
    finally:
        podman("rm", "--force", "--volumes", "--time=5", identity)


def _wait_for_systemd(podman: Podman, identity: str) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while not podman.succeeds("exec", identity, "systemctl", "is-system-running", "--wait"):
        state = podman("exec", identity, "sh", "-c", "systemctl is-system-running || true")
        if state == "degraded":
            # Units of a machine's own hardware, which a container has not.
            return
        assert time.monotonic() < deadline, podman("logs", identity)
        time.sleep(1)
