"""Proposals in the real page: three masks are accepted, and the next task has its own before anybody clicks."""

from __future__ import annotations

import io
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import requests
from PIL import Image as PillowImage

from backend.label_studio.project_setup import Attachment, attach_backend, create_project
from backend.tools.studio.processes import Server, make_backend
from tests.e2e.conftest import find_free_port
from tests.helpers.label_studio.photographs import (
    assert_same,
    compute_iou,
    decode_region,
    find_newest_task,
    read_sample,
)

CUP, CUP_RIM = (240, 180), (372, 220)
"""In pixels of the photograph of the coffee."""

_START_SECONDS = 900.0


@pytest.fixture(scope="module")
def proposing(studio, tmp_path_factory) -> Iterator[Server]:
    """A backend that makes proposals, and that may take its time: machines are shared."""
    environ = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "M2N2_PROPOSE": "accepted",
        "M2N2_PROPOSE_WAIT_SECONDS": "60",
        "M2N2_DISK_CACHE_MIB": "0",
    }
    with make_backend(environ, find_free_port(), tmp_path_factory.mktemp("proposing") / "backend.log") as server:
        server.wait_ready(_START_SECONDS)
        yield server


@pytest.fixture(scope="module")
def project(studio, proposing) -> int:
    """A project with the coffee in it again and again, never cut or lit the same way."""
    number = create_project(studio.client, "Proposals", ("Cup",), proposing.url)
    attach_backend(studio.client, number, Attachment(proposing.url))
    return number


def cut_coffee(number):
    """One of the pictures and the place of the photograph that it begins at."""
    left, top = number * 7 % 40, number * 5 % 24
    picture = PillowImage.open(io.BytesIO(read_sample("coffee.png"))).convert("RGB")
    picture = picture.crop((left, top, left + 560, top + 376)).point(lambda value: value * (1 - number % 4 * 0.08))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue(), (left, top)


def find_place(place, corner):
    """A place of the photograph in one of the pictures, as a fraction of it."""
    return (place[0] - corner[0]) / 560, (place[1] - corner[1]) / 376


def find_middle(mask):
    """The place in a mask that is farthest from its border, as a fraction of the picture."""
    depths = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(depths.argmax(), depths.shape)
    return (column + 0.5) / mask.shape[1], (row + 0.5) / mask.shape[0]


@pytest.fixture(scope="module")
def upload_coffee(studio, project):
    def upload(number):
        data, corner = cut_coffee(number)
        studio.client.upload(project, f"coffee-{number}.png", data)
        return find_newest_task(studio.client, project), data, corner

    return upload


def read_metric(server, name):
    lines = requests.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_three_masks_are_accepted_and_the_fourth_is_there_and_corrected_by_one_click(
    make_annotator, project, proposing, upload_coffee, segment, studio
):
    annotator = make_annotator()
    tasks = [upload_coffee(number) for number in range(4)]
    for number, (task, _, corner) in enumerate(tasks[:3]):
        annotator.open_task(project, task)
        if number == 0:
            assert annotator.read_regions() == [], "there is no example yet"
            annotator.prepare()
            annotator.click("Cup", *find_place(CUP, corner))
            annotator.click("Cup", *find_place(CUP_RIM, corner))
            annotator.accept()
        else:
            annotator.await_regions()
            assert [origin for _, origin in annotator.read_regions()] == ["prediction"], "the one before is an example"
        annotator.submit()

    task, data, corner = tasks[3]
    annotator.open_task(project, task)
    annotator.await_regions()
    annotator.shoot("1-proposed")
    (prediction,) = studio.client.get("/api/predictions", task=task)
    assert "-3-examples-" in prediction["model_version"]
    (proposed,) = prediction["result"]
    assert annotator.read_regions() == [(proposed["id"], "prediction")]
    points = [
        {
            "type": "keypointlabels",
            "is_positive": True,
            "value": dict(zip("xy", (100 * share for share in find_place(place, corner)), strict=True)),
        }
        for place in (CUP, CUP_RIM)
    ]
    assert compute_iou(decode_region(proposed), segment(data, points)) > 0.8

    annotator.prepare()
    corrected = annotator.click("Cup", *find_middle(decode_region(proposed)), alt=True, over_box=True)
    assert [point["is_positive"] for point in corrected.asked] == [False]
    assert corrected.region["id"] == proposed["id"]
    assert 0 < compute_iou(decode_region(corrected.region), decode_region(proposed)) < 1
    annotator.shoot("2-corrected")
    annotator.accept()
    annotator.shoot("3-accepted")
    (saved,) = annotator.submit()
    assert saved["id"] == proposed["id"]
    assert_same(decode_region(saved), decode_region(corrected.region))


def test_predictions_of_ten_tasks_are_retrieved_at_once(make_annotator, project, proposing, upload_coffee, studio):
    tasks = [upload_coffee(number)[0] for number in range(4, 14)]
    selected = {"selectedItems": {"all": False, "included": tasks}}
    studio.client.post(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", selected)
    found = [studio.client.get("/api/predictions", task=task) for task in tasks]
    assert [len(predictions) for predictions in found] == [1] * 10
    assert len({predictions[0]["model_version"] for predictions in found}) == 1
    assert all(predictions[0]["result"] for predictions in found)
    annotator = make_annotator()
    annotator.open_task(project, tasks[-1])
    annotator.await_regions()
    annotator.shoot("retrieved")
    assert [identifier for identifier, _ in annotator.read_regions()] == [one["id"] for one in found[-1][0]["result"]]
    # Those of the test before: two were submitted as they were, and one was corrected.
    assert read_metric(proposing, "m2n2_proposals_kept_total") == 2
    assert read_metric(proposing, "m2n2_proposals_corrected_total") == 1
