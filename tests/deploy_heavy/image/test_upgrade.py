"""The image of the version before, its two named volumes, and then this image with the same volumes.

The version before is that of the last tag. While there is no tag, it is the commit before the kernels changed last: its
kernels are others than this version's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.image.container import IMAGE, measure_overlap
from tests.helpers.paths import ROOT

PREVIOUS_IMAGE = "localhost/m2n2:previous"
VOLUMES = {"upgraded-weights": "/weights", "upgraded-cache": "/cache"}
MOUNTS = [f"--volume={name}:{place}" for name, place in VOLUMES.items()]
KERNELS = "m2n2_engine/kernels/cpu"


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def find_previous():
    """A tag, or a commit of the main line."""
    tag = git("describe", "--tags", "--abbrev=0", "HEAD^")
    changed = git("rev-list", "--max-count=1", "--first-parent", "HEAD", "--", KERNELS)
    return tag or git("rev-parse", "--short", f"{changed}^")


@pytest.fixture(scope="module")
def previous(podman, tmp_path_factory):
    version = find_previous()
    assert version, "an upgrade is tested in a clone with its history"
    context = tmp_path_factory.mktemp("previous")
    with subprocess.Popen(["git", "-C", ROOT, "archive", version], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "--extract", "--directory", context], stdin=archive.stdout, check=True)
    assert archive.returncode == 0
    sys.stdout.write(f"\nthe version before is {version}")
    podman.build(context, "cpu", PREVIOUS_IMAGE)
    return PREVIOUS_IMAGE


@pytest.fixture
def volumes(podman):
    """Their folders on this machine, as a new volume has them: empty, until a container fills them."""
    for name in VOLUMES:
        podman("volume", "create", name)
    yield {name: Path(podman.inspect("volume", name)["Mountpoint"]) for name in VOLUMES}
    podman("volume", "rm", "--force", *VOLUMES)


def list_kernels(volumes):
    """Folder named by sources -> names of the kernels in it."""
    folders = (volumes["upgraded-cache"] / "kernels").glob("kernels-*")
    return {folder.name: {file.name for file in folder.rglob("*.nbc")} for folder in folders}


def find_weights(podman, container, volumes):
    """The file of weights in the volume. One that serves from its image has put none there, and is given its own."""
    folder = volumes["upgraded-weights"] / "weights" / "dinov2-small"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        podman("cp", f"{container.id}:/opt/m2n2/bundled/weights/dinov2-small", folder)
    return next(folder.glob("*.safetensors"))


def test_volumes_of_the_version_before_serve_this_one_and_that_one_again(
    podman, make_container, previous, image, volumes, click
):
    def start(*options, image):
        container = make_container(*options, image=image)
        seconds = container.wait_until_ready()
        answer = container.ask("/predict", click)
        assert answer.status_code == 200, answer.text
        assert measure_overlap(answer) > 0.9
        return container, seconds, answer.json()["results"][0]["result"][0]["value"]["rle"]

    def stop(container):
        podman("stop", "--time=100", container.id)
        podman("rm", container.id)

    before, _, _ = start(*MOUNTS, image=previous)
    old_kernels = list_kernels(volumes)
    old_attention = {path.name for path in (volumes["upgraded-cache"] / "attention").glob("*.safetensors")}
    assert len(old_kernels) == 1
    assert old_attention
    weights = find_weights(podman, before, volumes)
    stop(before)

    # An older network than this version's: a file with other hashes, which a server that took it would refuse.
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    fresh, _, mask = start(image=IMAGE)
    stop(fresh)
    after, seconds, upgraded_mask = start(*MOUNTS, image=IMAGE)
    metrics = after.ask("/metrics").text.splitlines()
    hits = [line for line in metrics if "disk" in line and not line.startswith("#")]
    sys.stdout.write(f"\nready after {seconds:.0f} s with the volumes of the version before\n" + "\n".join(hits) + "\n")
    assert upgraded_mask == mask, "a file of the version before was read as one of this one"
    stop(after)
    kernels = list_kernels(volumes)
    (new,) = kernels.keys() - old_kernels.keys()
    assert kernels[new]
    assert {name: kernels.get(name) for name in old_kernels} == old_kernels

    weights.write_bytes(whole)
    again, _, _ = start(*MOUNTS, image=previous)
    assert list_kernels(volumes) == kernels, "going back compiled anew"
    stop(again)
