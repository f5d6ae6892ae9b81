"""The Dockerfile, built on a clean Debian and run as it is meant to run: it answers an annotator's click.

The figures that docs/results/deploy-tests.md records are printed here.
"""

from __future__ import annotations

import base64
import copy
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from tests.helpers.image.container import ANSWER_SECONDS, measure_overlap

MOST_BYTES = 2_500_000_000
ANNOTATORS = 12
# An image, and the part of it that a small object is looked at again in: 105 MiB on 28 November 2026.
MOST_BYTES_AN_ANNOTATOR = 140 * 2**20

# Parts of numba that spread loops over threads, which no kernel here asks for.
OPTIONAL_LIBRARIES = {"libtbb.so.12", "libgomp.so.1.0.0"}


@pytest.fixture(scope="module")
def container(make_container):
    container = make_container()
    sys.stdout.write(f"\nready after {container.wait_until_ready():.0f} s\n")
    return container


def test_it_answers_a_recorded_click(container, click):
    answer = container.ask("/predict", click)
    assert answer.status_code == 200, answer.text
    assert measure_overlap(answer) > 0.9
    assert container.ask("/health").json()["backbone"] == "dinov2-small"


def test_it_is_small_and_has_no_more_than_it_needs(image, container):
    assert image["Size"] < MOST_BYTES
    packages = {line.split("==")[0].lower() for line in container.run("python -m pip freeze").splitlines()}
    assert {name for name in packages if name.startswith("opencv")} == {"opencv-python-headless"}
    assert {name for name in packages if name.startswith(("nvidia", "cuda", "triton"))} == set()
    assert packages & {"matplotlib", "simpy"} == set()
    assert container.run("command -v gcc cc clang make || true") == ""


def test_every_library_is_found(container):
    libraries = "find /opt/m2n2/lib -name '*.so*' -type f"
    lines = container.run(f"{libraries} -exec ldd {{}} + 2>/dev/null | grep 'not found' || true").splitlines()
    # ldd looks at each file alone. Libraries of one wheel are found beside each other by what loads them.
    bundled = set(container.run("find /opt/m2n2/lib -path '*.libs/*.so*' -printf '%f\\n'").splitlines())
    missing = {line.split()[0] for line in lines}
    assert missing - bundled <= OPTIONAL_LIBRARIES
    container.run("python -c 'import scipy.ndimage, scipy.sparse.linalg, scipy.spatial'")


def test_licences_are_kept(container):
    packages = "/opt/m2n2/lib/python3.11/site-packages"
    assert "MIT" in container.run(f"cat {packages}/m2n2_annotation-*.dist-info/licenses/LICENSE")
    assert container.run(f"ls {packages}/torch-*.dist-info/licenses/LICENSE")
    assert "Apache-2.0" in container.run("cat /opt/m2n2/bundled/weights/dinov2-small/manifest.json")
    assert container.run("ls /usr/share/common-licenses/Apache-2.0 /usr/share/doc/python3.11/copyright")


def test_it_runs_as_nobody_in_particular_and_changes_nothing_of_itself(container):
    assert container.run("id -u") == "10001"
    assert container.run("tr '\\0' ' ' < /proc/1/cmdline").split()[1:] == [
        "/opt/m2n2/bin/gunicorn",
        "--config",
        "python:backend.http.gunicorn_conf",
    ]
    writable = container.run("find / -xdev -type d -writable 2>/dev/null || true").splitlines()
    assert set(writable) == {"/cache", "/tmp", "/weights"}
    assert container.run("touch /opt/m2n2/x 2>/dev/null || echo refused") == "refused"
    assert container.run("touch /cache/x /weights/x && rm /cache/x /weights/x && echo written") == "written"


def test_kernels_come_with_the_image(container):
    """Those for this processor: the build's."""
    assert int(container.run("find /cache/kernels -name '*.nbc' | wc -l")) > 0
    assert container.find_new_kernels() == ""


def test_another_processor_adds_its_kernels(make_container, click):
    container = make_container("--env=NUMBA_CPU_NAME=nehalem")
    sys.stdout.write(f"\nready after {container.wait_until_ready():.0f} s on another processor\n")
    assert measure_overlap(container.ask("/predict", click)) > 0.9
    assert container.find_new_kernels() != ""


def test_its_health_is_known(podman, image, container):
    assert podman.succeeds("healthcheck", "run", container.id)
    shell, flag, check = image["Healthcheck"]["Test"][-3:]
    assert (shell, flag) == ("sh", "-c")
    assert not podman.succeeds("exec", "--env=M2N2_PORT=9", container.id, shell, flag, check)


def test_the_term_signal_answers_the_click_under_way(podman, make_container, click):
    container = make_container("--env=M2N2_GRID=64")
    container.wait_until_ready()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(container.ask("/predict", click)))
    asking.start()
    deadline = time.monotonic() + ANSWER_SECONDS
    while "m2n2_queue_preparing 1.0" not in container.ask("/metrics").text:
        assert asking.is_alive(), "the click was answered before it was seen"
        assert time.monotonic() < deadline
    podman("stop", "--time=100", container.id)
    asking.join(ANSWER_SECONDS)
    assert [answer.status_code for answer in answers] == [200]
    assert podman.inspect("container", container.id)["State"]["ExitCode"] == 0


def test_the_weights_are_those_that_were_recorded(container):
    assert container.run("m2n2 weights verify dinov2-small").startswith("dinov2-small: ok")


def test_memory_grows_little_with_every_annotator(make_container, click):
    """Each annotator has an image of their own. What a process takes is counted as the kernel shares it out."""
    container = make_container()
    container.wait_until_ready()
    assert container.ask("/predict", click).status_code == 200
    alone = container.measure_memory()
    for number in range(1, ANNOTATORS):
        assert measure_overlap(container.ask("/predict", change_picture(click, number))) > 0.9
    per_annotator = (container.measure_memory() - alone) / (ANNOTATORS - 1)
    sys.stdout.write(
        f"\n{alone / 2**20:.0f} MiB with one annotator, {per_annotator / 2**20:.1f} MiB for each further one\n"
    )
    assert per_annotator < MOST_BYTES_AN_ANNOTATOR


def change_picture(click, number):
    """The click on another picture of the same box: one pixel of the background differs."""
    head, _, payload = click["tasks"][0]["data"]["image"].partition(",")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(payload), np.uint8), cv2.IMREAD_COLOR)
    picture[0, number] = 255
    changed = copy.deepcopy(click)
    encoded = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
    changed["tasks"][0]["data"]["image"] = f"{head},{encoded}"
    return changed
