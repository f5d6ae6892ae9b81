"""Two pages of docs/operate, followed to the letter: their blocks are run in order on a clean Debian 12 with systemd.

The machine is a container whose process 1 is systemd, with a network of its own that reaches the package registries.
What is typed otherwise than it is written, and what is left out, stands here with the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.label_studio import brush_rle
from tests.helpers.deploy.documents import make_script
from tests.helpers.image.container import HEIGHT, WIDTH, overlap_with_box
from tests.helpers.image.pip_access import share_pip
from tests.helpers.image.podman import BASE, LIMITS
from tests.helpers.paths import ROOT

OPERATE = ROOT / "docs" / "operate"
MACHINE = "localhost/debian:machine"
BOOT_SECONDS = 120
# What every Debian on a machine has, and debootstrap's smallest has not. apt asks nobody, as nobody is there.
CONTAINERFILE = f"""FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends systemd systemd-sysv dbus ca-certificates openssl \\
    iproute2 && echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/90yes
"""

BARE_METAL = {
    "<this repository>": "/repository",
    # pip finds the build where it finds the others on this machine.
    " --index-url https://download.pytorch.org/whl/cpu    #": "    #",
    # The machine of the tests may be busy, and kernels are compiled at the first start.
    "--retry 120": "--retry 900",
    # Nobody is there to edit: the example is taken as it is.
    "editor /etc/m2n2/m2n2.env": "cat /etc/m2n2/m2n2.env",
    "<your certificate with its chain>": "/root/certificate.crt",
    "<its key>": "/root/certificate.key",
}
BARE_METAL_LEFT_OUT = {
    ".venv/bin/pip install --require-hashes": "in place of the lines before; tests/deploy_heavy/test_pins.py has it",
    "install -D --mode 644 deploy/systemd/gpu.conf": "needs a GPU",
    "set -a; . /etc/m2n2/m2n2.env": "needs a Label Studio; tests/e2e has it",
}
# Port 9090 is the service's own, and the page says that the doctor reports it.
UPGRADES = {".venv/bin/m2n2 doctor)": ".venv/bin/m2n2 doctor) || true"}
UPGRADES_LEFT_OUT = {
    "docker compose exec label-studio": "needs compose; tests/e2e/test_container_start.py has such keys"
}

PAGES = {"bare-metal.md": (BARE_METAL, BARE_METAL_LEFT_OUT), "upgrades.md": (UPGRADES, UPGRADES_LEFT_OUT)}
"""Page -> what is typed otherwise, and what is left out."""


@pytest.fixture(scope="module")
def machine(podman, tmp_path_factory):
    """Its id. A clone of this repository is at /repository, and a certificate of its own in /root."""
    podman.import_base()
    folder = tmp_path_factory.mktemp("machine")
    (folder / "Containerfile").write_text(CONTAINERFILE)
    podman("build", "--isolation=chroot", "--network=host", f"--tag={MACHINE}", *LIMITS, folder)
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, folder / "repository"], check=True)
    mounts = {str(folder / "repository"): "/repository", **share_pip(podman.folder / "pip-of-machine")}
    volumes = [f"--volume={source}:{inside}:ro" for source, inside in mounts.items()]
    options = ["--systemd=always", "--privileged", "--network=slirp4netns", *LIMITS, *volumes]
    identity = podman("run", "--detach", *options, MACHINE, "/sbin/init")
    try:
        wait_for_systemd(podman, identity)
        certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2"
        podman("exec", identity, "sh", "-c", f"cd /root && {certificate} -keyout certificate.key -out certificate.crt")
        yield identity
    finally:
        podman("rm", "--force", "--volumes", "--time=5", identity)
        shutil.rmtree(folder)


def wait_for_systemd(podman, identity):
    deadline = time.monotonic() + BOOT_SECONDS
    while not podman.succeeds("exec", identity, "systemctl", "is-system-running", "--wait"):
        state = podman("exec", identity, "sh", "-c", "systemctl is-system-running || true")
        if state == "degraded":
            # Units of a machine's own hardware, which a container has not.
            return
        assert time.monotonic() < deadline, podman("logs", identity)
        time.sleep(1)


def follow(podman, machine, name):
    """What the script printed."""
    script = make_script(OPERATE / name, *PAGES[name])
    started = time.monotonic()
    # git: a clone of another user's folder is refused.
    environ = ["--env=GIT_CONFIG_COUNT=1", "--env=GIT_CONFIG_KEY_0=safe.directory", "--env=GIT_CONFIG_VALUE_0=*"]
    log = Path(podman.folder) / f"{name}.log"
    command = [*podman.command, "exec", *environ, "--workdir=/root", machine, "bash", "-c", script]
    with log.open("wb") as opened:
        done = subprocess.run(command, stdout=opened, stderr=subprocess.STDOUT, check=False)
    text = log.read_text(errors="replace")
    assert done.returncode == 0, text[-4000:]
    sys.stdout.write(f"\n{name}: followed in {time.monotonic() - started:.0f} s\n")
    return text


def test_bare_metal_ends_with_two_processes_behind_tls_that_answer_a_click(podman, machine, click, tmp_path):
    follow(podman, machine, "bare-metal.md")
    (tmp_path / "click.json").write_text(json.dumps(click))
    podman("cp", tmp_path / "click.json", f"{machine}:/root/click.json")
    asked = "curl --silent --fail --insecure --json @/root/click.json https://127.0.0.1/predict"
    for stopped in ("9090", "9091"):
        podman("exec", machine, "systemctl", "stop", f"m2n2@{stopped}")
        (prediction,) = json.loads(podman("exec", machine, "sh", "-c", asked))["results"]
        mask = brush_rle.decode(prediction["result"][0]["value"]["rle"], (HEIGHT, WIDTH))
        assert overlap_with_box(mask) > 0.9
        podman("exec", machine, "systemctl", "start", f"m2n2@{stopped}")
    exposure = podman("exec", machine, "sh", "-c", "systemd-analyze security m2n2@9090 --no-pager | tail -n 1")
    sys.stdout.write(exposure + "\n")

    text = follow(podman, machine, "upgrades.md")
    assert "dinov2-small" in text
