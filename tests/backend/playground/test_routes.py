"""The page's three requests: an image, make it ready, and what is there."""

from __future__ import annotations

import dataclasses
import re
import threading

import numpy as np
import pytest

from backend.playground.images import KEPT_VISITOR_IMAGES
from backend.playground.payload import MOST_STROKE_POINTS, read_runs, write_runs
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import Box, Click, Stroke

from .conftest import click

SIZE = (48, 64)


@pytest.fixture
def image(visitor, make_png):
    return visitor.keep(make_png(64, 48))


def read(response):
    assert response.status_code == 200, response.text
    return [read_runs(each["runs"], SIZE) for each in response.json["masks"]]


def test_an_image_is_named_and_measured(visitor, make_png):
    response = visitor.upload(make_png(64, 48))
    assert response.status_code == 200
    assert response.json == {"image": visitor.keep(make_png(64, 48)), "width": 64, "height": 48}
    assert response.headers["Cache-Control"] == "no-store"


def test_a_click_gives_its_mask(visitor, image, segmenter):
    segmenter.radius_pixels = 5
    (mask,) = read(visitor.segment(image, click(20, 10)))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    np.testing.assert_array_equal(mask, (x - 20) ** 2 + (y - 10) ** 2 < 25)
    assert segmenter.asked[-1] == ((*SIZE, 3), (Click(20, 10),))


def test_clicks_strokes_and_a_box_reach_the_engine_in_their_order(visitor, image, segmenter):
    stroke = {"points": [[1, 2], [3, 4], [5.5, 6]], "positive": False}
    visitor.segment(image, click(20, 10), stroke, click(5, 6, positive=False), box=[1, 2, 30, 40])
    marks = (Click(20, 10), Stroke(((1, 2), (3, 4), (5.5, 6)), False), Click(5, 6, False))
    assert segmenter.asked[-1][1] == marks
    assert segmenter.boxes[-1] == Box(1, 2, 30, 40)


def test_a_box_alone_is_enough(visitor, image):
    (mask,) = read(visitor.segment(image, box=[10, 5, 30, 25]))
    assert mask.sum() == 20 * 20
    assert mask[5:25, 10:30].all()


def test_undoing_is_asking_with_fewer_marks(visitor, image):
    before = visitor.segment(image, click(20, 10)).json
    assert visitor.segment(image, click(20, 10), click(50, 40)).json != before
    assert visitor.segment(image, click(20, 10)).json == before


def test_a_mask_to_start_from_reaches_the_engine(visitor, image, segmenter):
    start = np.zeros(SIZE, bool)
    start[:3, 4:9] = True
    visitor.segment(image, click(50, 40), start=write_runs(start))
    np.testing.assert_array_equal(segmenter.starts[-1], start)


@pytest.mark.parametrize("runs", [[1], [-1, 64 * 48 + 1], []])
def test_a_mask_to_start_from_must_be_one_of_this_image(visitor, image, runs):
    response = visitor.segment(image, click(50, 40), start=runs)
    assert response.status_code == 400
    assert response.json["error"]["type"] == "InvalidMask"
    assert "64 x 48" in response.json["error"]["message"]


def test_all_sizes_are_given_the_smallest_first(visitor, image, segmenter):
    segmenter.radius_pixels = 8
    masks = read(visitor.segment(image, click(30, 20), sizes=True))
    areas = [int(mask.sum()) for mask in masks]
    assert len(areas) == 3
    assert areas == sorted(areas)
    np.testing.assert_array_equal(masks[1], read(visitor.segment(image, click(30, 20)))[0])


def test_an_image_can_be_made_ready_before_its_first_click(visitor, image, segmenter):
    assert visitor.prepare(image).json == {"tier": "network"}
    assert visitor.prepare(image).json == {"tier": "device"}
    visitor.segment(image, click(20, 10))
    assert len(segmenter.prepared) == 1


def test_the_times_of_an_answer_are_told(visitor, image):
    timing = visitor.segment(image, click(20, 10), sizes=True).headers["Server-Timing"]
    assert {part.partition(";")[0] for part in timing.split(", ")} >= {"fetch", "wait", "clicks", "encode"}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"hello", "no image file"),
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged|no image"),
    ],
)
def test_a_hostile_image_is_refused_in_a_sentence_and_not_kept(visitor, file, words):
    response = visitor.upload(file)
    assert response.status_code == 400
    message = response.json["error"]["message"]
    assert re.search(words, message)
    assert "data:" not in message
    assert "Traceback" not in message


def test_an_image_of_too_many_pixels_is_refused(make_visitor, make_png):
    response = make_visitor({"M2N2_MAX_IMAGE_MEGAPIXELS": "1"}).upload(make_png(1100, 1000))
    assert response.status_code == 400
    assert "M2N2_MAX_IMAGE_MEGAPIXELS" in response.json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("images", "M2N2_MAX_IMAGE_MIB"),
        ("segment", "M2N2_MAX_PREDICT_MIB"),
        ("prepare", "M2N2_MAX_SETUP_MIB"),
    ],
)
def test_a_body_has_a_limit(make_visitor, path, setting):
    visitor = make_visitor({setting: "1"})
    kind = "application/octet-stream" if path == "images" else "application/json"
    response = visitor.client.post(
        f"/playground/{path}", data=bytes(2**20 + 1), content_type=kind, headers=visitor.headers
    )
    assert response.status_code == 413
    assert setting in response.json["error"]["message"]


def test_without_a_page_no_body_is_taken(make_client):
    limits = make_client({"M2N2_PLAYGROUND": "off"}).application.extensions["http_limits"]
    assert limits.find("/playground/images") is None
    assert make_client({"M2N2_PLAYGROUND": "on"}).application.extensions["http_limits"].find("/playground/images")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"image": "no digest"}, "image"),
        ({"object": "x" * 65}, "object"),
        ({"marks": [{"points": [], "positive": True}]}, "marks.0.points"),
        ({"marks": [{"points": [[1, 2]] * (MOST_STROKE_POINTS + 1), "positive": True}]}, "marks.0.points"),
        ({"marks": [{"points": [[1, 2]]}]}, "marks.0.positive"),
        ({"marks": [{"points": [[1]], "positive": True}]}, "marks.0.points.0"),
        ({"marks": [click(1, 2)] * 201}, "marks"),
        ({"box": [1, 2, 3]}, "box"),
        ({"start": "all"}, "start"),
        ({"sizes": 7}, "sizes"),
    ],
)
def test_a_wrong_body_is_told_where(visitor, image, change, place):
    response = visitor.segment(image, **change) if "image" not in change else visitor.segment(change["image"])
    assert response.status_code == 400
    assert f"takes: {place}" in response.json["error"]["message"]


def test_an_image_that_was_dropped_is_asked_for_again(visitor, make_png):
    first = visitor.keep(make_png(64, 48))
    for width in range(65, 65 + KEPT_VISITOR_IMAGES):
        visitor.keep(make_png(width, 48))
    for response in (visitor.segment(first, click(20, 10)), visitor.prepare(first)):
        assert response.status_code == 410
        assert "send it again" in response.json["error"]["message"]
    assert visitor.keep(make_png(64, 48)) == first
    assert visitor.segment(first, click(20, 10)).status_code == 200


def test_nobody_sees_whether_another_visitor_has_an_image(visitor, image):
    other = dataclasses.replace(visitor, number="1" * 32)
    assert other.segment(image, click(20, 10)).status_code == 410


def test_a_full_server_says_so(make_visitor, make_png, segmenter):
    """Two threads leave one place for predictions; a first click holds it."""
    visitor = make_visitor({"M2N2_SERVER_THREADS": "2"})
    image = visitor.keep(make_png(64, 48))
    is_held, is_over = threading.Event(), threading.Event()
    segmenter.before_segment = lambda picture: (is_held.set(), is_over.wait(10))
    first = threading.Thread(target=lambda: visitor.segment(image, click(20, 10)))
    first.start()
    try:
        assert is_held.wait(10)
        for response in (visitor.segment(image, click(30, 10)), visitor.upload(make_png()), visitor.prepare(image)):
            assert response.status_code == 503
            assert "under way" in response.json["error"]["message"]
            assert response.headers["Retry-After"]
    finally:
        is_over.set()
        first.join()


def test_a_newer_click_of_an_object_overtakes_an_older_one(visitor, image, segmenter):
    """The first one computes; the second waits for it, until a third takes its place."""
    is_held, is_second, is_over = threading.Event(), threading.Event(), threading.Event()
    segmenter.before_segment = lambda picture: (is_held.set(), is_over.wait(10))
    responses = {}

    class Found(list):
        def append(self, tier):
            super().append(tier)
            is_second.set()

    def ask(x):
        responses[x] = visitor.segment(image, click(x, 10))

    threads = [threading.Thread(target=ask, args=(x,)) for x in (1, 2, 3)]
    threads[0].start()
    assert is_held.wait(10)
    segmenter.found = Found()
    threads[1].start()
    assert is_second.wait(10)
    threads[2].start()
    threads[1].join(10)
    is_over.set()
    for thread in threads:
        thread.join(10)
    assert responses[2].status_code == 409
    assert "newer click" in responses[2].json["error"]["message"]
    assert responses[3].status_code == 200


def test_what_goes_wrong_in_the_engine_is_told(visitor, image, segmenter):
    segmenter.error = OutOfMemory("no memory left: use a smaller grid")
    response = visitor.segment(image, click(20, 10))
    assert response.status_code == 503
    assert response.json["error"]["message"] == "no memory left: use a smaller grid"


def test_no_name_or_pixel_of_an_image_is_logged(visitor, image, caplog):
    with caplog.at_level("DEBUG"):
        visitor.segment(image, click(20, 10))
        visitor.upload(b"secret bytes")
    assert "secret" not in caplog.text
    assert visitor.number not in caplog.text
