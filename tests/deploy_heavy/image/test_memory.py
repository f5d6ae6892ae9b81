"""Images nearly as large as the server takes, clicked on all at once, within the memory that the manifests allow."""

from __future__ import annotations

import base64
import concurrent.futures
import copy
import sys

import cv2
import numpy as np
import pytest

from backend.label_studio import brush_rle
from tests.helpers.deploy.kustomize import find_containers, render
from tests.helpers.image.container import BOX, HEIGHT, WIDTH
from tests.helpers.paths import ROOT

ANNOTATORS = 8
# Each side of the picture of the fixture ``click`` as many times: 60 megapixels, of the 64 that are taken.
TIMES = 14
GIB = 2**30
HEAVY_SECONDS = 600


@pytest.fixture
def pod():
    """The settings of the pod in deploy/kubernetes/base, and its limit of memory in bytes."""
    manifests = render(ROOT / "deploy" / "kubernetes" / "base")
    (configmap,) = (manifest for manifest in manifests if manifest["kind"] == "ConfigMap")
    (described,) = find_containers(manifests)
    limit = described["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    return configmap["data"], int(limit.removesuffix("Gi")) * GIB


@pytest.fixture(scope="module")
def pictures():
    """As base64 of JPEG, of 60 megapixels each: a box before a background of its own colour."""
    found = []
    for number in range(ANNOTATORS):
        picture = np.full((HEIGHT, WIDTH, 3), (70 + 8 * number, 130, 90), np.uint8)
        picture[BOX] = 50, 60, 200
        large = cv2.resize(picture, None, fx=TIMES, fy=TIMES, interpolation=cv2.INTER_NEAREST)
        found.append(base64.b64encode(cv2.imencode(".jpg", large)[1].tobytes()).decode())
    return found


def test_eight_images_of_60_megapixels_at_once_keep_within_the_limit(make_container, click, pictures, pod):
    settings, limit = pod
    answers_later = {"M2N2_ANSWER_TIMEOUT_SECONDS": str(HEAVY_SECONDS)}  # two processors prepare them one by one
    container = make_container(*(f"--env={name}={value}" for name, value in {**settings, **answers_later}.items()))
    container.wait_until_ready()
    began, most = container.measure_memory(), 0
    with concurrent.futures.ThreadPoolExecutor(ANNOTATORS) as annotators:
        bodies = [enlarge(click, picture, number) for number, picture in enumerate(pictures)]
        asked = [annotators.submit(container.ask, "/predict", body, HEAVY_SECONDS) for body in bodies]
        while not all(each.done() for each in asked):
            most = max(most, container.measure_memory())
    sys.stdout.write(f"\n{began / GIB:.2f} GiB before, {most / GIB:.2f} at most, {limit / GIB:.0f} allowed\n")
    for each in asked:
        answer = each.result()
        assert answer.status_code == 200, answer.text
        (prediction,) = answer.json()["results"]
        mask = brush_rle.decode(prediction["result"][0]["value"]["rle"], (HEIGHT * TIMES, WIDTH * TIMES))
        assert mask[BOX[0].start * TIMES + TIMES, BOX[1].start * TIMES + TIMES]
        assert not mask[0, 0]
    assert most < limit


def enlarge(click, picture, number):
    """The click on a picture that is that many times as large, in a task of its own. Its place is in percent."""
    changed = copy.deepcopy(click)
    changed["tasks"][0]["id"] = 1 + number
    changed["tasks"][0]["data"]["image"] = f"data:image/jpeg;base64,{picture}"
    for region in changed["params"]["context"]["result"]:
        region["original_width"], region["original_height"] = WIDTH * TIMES, HEIGHT * TIMES
    return changed
