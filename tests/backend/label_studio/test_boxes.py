"""Boxes: which of a request ask for a mask, and how clicks refine one.

Label Studio's page sends every box of the label with each smart one, drawn by hand or not, the newest last. Boxes and
key points never come together.
"""

from __future__ import annotations

import base64
import json
import logging

import numpy as np
import pytest

from backend.label_studio.brush_rle import encode
from m2n2_engine.types import Box, Click
from tests.helpers.label_studio.requests import SIZE, ask, key_point, masks_of, rectangle
from tests.helpers.paths import ROOT

BY_HAND = [rectangle(5 + 10 * number, 5, 4, 10, id=f"drawn{number}") for number in range(3)]
SMART = rectangle(10, 20, 25, 50, id="smart")
SMART_BOX = Box(64, 96, 224, 336)
SEPARATE = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="rect" toName="image" smartOnly="true"><Label value="Cat"/></RectangleLabels>'
    '<RectangleLabels name="plain" toName="image" smart="false"><Label value="Cat"/></RectangleLabels>'
    '<KeyPointLabels name="kp" toName="image" smartOnly="true"><Label value="Cat"/></KeyPointLabels>'
    '<BrushLabels name="brush" toName="image" smart="false"><Label value="Cat"/></BrushLabels></View>'
)


class Page:
    """A page of Label Studio: it sends what is on it, and has a draft saved when it is told to."""

    def __init__(self, client, make_body):
        self.client = client
        self.body = make_body(1)
        self.task = self.body["tasks"][0]

    def ask(self, *regions):
        self.body["params"]["context"]["result"] = list(regions)
        return ask(self.client, self.body)

    def save(self, *regions, at="12:00"):
        self.task["drafts"] = [{"id": 3, "updated_at": at, "result": list(regions)}]


@pytest.fixture
def page(client, interactive):
    return Page(client, interactive)


@pytest.fixture
def colleague(client, interactive):
    """Another page on the same task."""
    return Page(client, interactive)


# --- which boxes ask


def test_boxes_drawn_by_hand_get_no_masks(page, segmenter):
    (mask,) = masks_of(page.ask(*BY_HAND, SMART))
    assert segmenter.boxes == [SMART_BOX]
    assert mask.sum() == 160 * 240


def test_the_same_where_annotations_and_drafts_hold_them(page, segmenter):
    page.task["annotations"] = [{"id": 5, "result": BY_HAND}]
    page.save(*BY_HAND, SMART)
    page.ask(*BY_HAND, SMART)
    assert segmenter.boxes == [SMART_BOX]


def test_the_same_as_a_real_page_sent_it(page, segmenter):
    recorded = json.loads((ROOT / "tests" / "data" / "label_studio" / "boxes_by_hand_and_smart.json").read_text())
    regions = recorded["context"]["result"]
    page.body["label_config"] = recorded["label_config"]
    page.save(*regions[:2])
    assert len(page.ask(*regions)["results"][0]["result"]) == 1
    (box,) = segmenter.boxes
    assert (box.left, box.top) == (round(0.141 * 640), round(0.139 * 480))


def test_each_smart_box_that_is_pending_keeps_its_mask(page):
    page.ask(SMART)
    page.save(SMART)
    first, second = masks_of(page.ask(*BY_HAND, SMART, rectangle(50, 20, 10, 10)))
    assert first[200, 100]
    assert second[120, 350]
    assert not (first & second).any()


def test_a_box_that_was_submitted_asks_no_more(page, segmenter):
    page.ask(SMART)
    page.task["annotations"] = [{"id": 5, "result": [SMART]}]
    assert len(masks_of(page.ask(SMART, rectangle(50, 20, 10, 10)))) == 1


def test_a_box_whose_mask_was_accepted_asks_no_more(page):
    """After a reload the page keeps the box beside the mask that it was for."""
    (region,) = page.ask(SMART)["results"][0]["result"]
    page.save(SMART, region)
    assert len(masks_of(page.ask(SMART, rectangle(50, 20, 10, 10)))) == 1


def test_of_a_tag_that_is_smart_only_every_box_asks_whatever_is_remembered(page):
    page.body["label_config"] = SEPARATE
    by_hand = {**BY_HAND[0], "from_name": "plain"}
    assert len(masks_of(page.ask(by_hand, SMART, rectangle(50, 20, 10, 10, id="second")))) == 2
    finished = rectangle(80, 80, 10, 10, id="finished")
    page.task["annotations"] = [{"result": [finished]}]
    assert len(masks_of(page.ask(finished, SMART))) == 1


def test_a_box_that_is_moved_asks_and_a_newer_one_drawn_by_hand_does_not(page, segmenter):
    page.ask(SMART)
    page.ask({**SMART, "value": {**SMART["value"], "x": 20}}, BY_HAND[0])
    assert segmenter.boxes == [SMART_BOX, Box(128, 96, 288, 336)]


@pytest.mark.parametrize(
    "unusable",
    [
        rectangle(5, 5, 4, 10, id="turned", value={"rotation": 30}),
        rectangle(5, 5, 0, 10, id="no-width"),
        rectangle(5, 5, 4, 0, id="no-height"),
        rectangle(120, 5, 4, 10, id="right-of-it"),
        rectangle(5, -20, 4, 10, id="above-it"),
    ],
)
@pytest.mark.parametrize("config", [None, SEPARATE])
def test_an_older_box_that_cannot_be_used_costs_the_newest_nothing(page, segmenter, unusable, config):
    page.body["label_config"] = config or page.body["label_config"]
    (mask,) = masks_of(page.ask(unusable, SMART))
    assert segmenter.boxes == [SMART_BOX]
    assert mask.any()


def test_what_is_left_out_is_named_in_the_log(page, caplog):
    page.body["label_config"] = SEPARATE
    page.ask(rectangle(5, 5, 4, 10, id="turned", value={"rotation": 30}), SMART)
    assert "a box is left out of the answer: a rectangle is rotated by 30 degrees; draw it upright" in caplog.text


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (rectangle(5, 5, 0, 10), "no width or no height; draw it around the object"),
        (rectangle(120, 5, 4, 10), "outside of the image, at x = 120, y = 5 percent; draw it anew"),
    ],
)
def test_a_newest_box_that_cannot_be_used_is_named(page, box, message):
    page.body["params"]["context"]["result"] = [BY_HAND[0], box]
    response = page.client.post("/predict", json=page.body)
    assert (response.status_code, response.json["error"]["type"]) == (400, "InvalidClicks")
    assert message in response.json["error"]["message"]


def test_of_many_pending_boxes_the_newest_are_answered(page, segmenter):
    page.body["label_config"] = SEPARATE
    boxes = [rectangle(number, 5, 10, 10, id=f"b{number}") for number in range(60)]
    page.ask(*boxes)
    assert len(segmenter.boxes) == 20
    assert segmenter.boxes[-1].left == round(59 * 6.4)


# --- a box and clicks


INSIDE, BESIDE, FAR = (20, 40), (38, 40), (80, 80)
"""Places in percent: in the smart box, right of it, and at another object."""


def test_a_click_in_a_box_refines_it(page, segmenter):
    page.ask(SMART)
    page.ask(key_point(*INSIDE, positive=False))
    assert segmenter.boxes == [SMART_BOX, SMART_BOX]
    assert segmenter.asked[-1][1] == (Click(128, 192, positive=False),)


def test_further_clicks_go_on_with_it_once_the_draft_shows_the_box(page, segmenter):
    clicks = [key_point(*INSIDE, positive=False), key_point(21, 41), key_point(22, 42)]
    page.ask(SMART)
    page.ask(clicks[0])
    page.save(SMART, clicks[0])
    page.ask(*clicks[:2])
    page.save(SMART, *clicks[:2], at="12:05")
    page.ask(*clicks)
    assert segmenter.boxes == [SMART_BOX] * 4
    assert [click.positive for click in segmenter.asked[-1][1]] == [False, True, True]


def test_a_positive_click_beside_a_box_extends_it_and_a_negative_one_does_not(page, segmenter):
    page.ask(SMART)
    page.ask(key_point(*BESIDE))
    page.ask(key_point(*BESIDE, positive=False))
    x = int(0.38 * 640)
    assert segmenter.boxes[1:] == [Box(64, 96, x + 1, 336), SMART_BOX]


def test_a_click_far_from_the_box_is_one_of_another_object(page, segmenter):
    page.ask(SMART)
    page.ask(key_point(*INSIDE), key_point(*FAR))
    assert segmenter.boxes[-1] is None
    assert len(segmenter.asked[-1][1]) == 2


def test_clicks_far_from_the_box_do_not_refine_it(page, segmenter):
    page.ask(SMART)
    page.ask(key_point(*FAR), key_point(*INSIDE))
    assert segmenter.boxes[-1] == SMART_BOX
    assert segmenter.asked[-1][1] == (Click(128, 192),)


def test_of_two_boxes_a_click_refines_the_one_it_lies_in(page, segmenter):
    other = rectangle(36, 20, 25, 50, id="other")
    page.ask(SMART)
    page.ask(SMART, other)
    page.ask(key_point(34, 40))
    page.ask(key_point(40, 40))
    assert [box.left for box in segmenter.boxes[-2:]] == [64, 230]


def test_a_box_takes_the_clicks_that_were_there_before_it(page, segmenter):
    page.ask(key_point(*INSIDE), key_point(*BESIDE), key_point(*FAR))
    page.ask(SMART)
    assert segmenter.boxes[-1] == SMART_BOX
    assert segmenter.asked[-1][1] == (Click(128, 192),)


def test_a_refined_box_keeps_its_clicks_when_another_box_is_drawn(page, segmenter):
    page.ask(SMART)
    page.ask(key_point(*BESIDE))
    page.ask(SMART, rectangle(60, 20, 10, 10))
    assert segmenter.boxes[1] == segmenter.boxes[2]
    assert segmenter.asked[1][1] == segmenter.asked[2][1]
    assert segmenter.asked[3][1] == ()


def test_a_box_and_clicks_in_one_request_are_one_prompt(page, segmenter):
    page.ask(SMART, key_point(*INSIDE))
    page.ask(key_point(*INSIDE), SMART)
    assert segmenter.boxes == [SMART_BOX] * 2
    assert [clicks for _, clicks in segmenter.asked] == [(Click(128, 192),)] * 2


@pytest.mark.parametrize(
    "change",
    [{"value": {"keypointlabels": ["Dog"]}}, {"item_index": 1}, {"to_name": "other"}],
)
def test_a_box_of_another_label_page_or_image_is_not_refined(page, segmenter, change):
    config = page.body["label_config"].replace('toName="image"', 'toName="image,other"')
    page.body["label_config"] = config.replace("<View>", '<View><Image name="other" value="$image"/>', 1)
    page.ask(SMART)
    page.ask(key_point(*INSIDE, **change))
    assert segmenter.boxes[-1] is None


@pytest.mark.parametrize(
    ("from_name", "change", "is_found"),
    [
        ("rect", {}, True),
        ("plain", {}, False),
        ("rect", {"value": {**SMART["value"], "rectanglelabels": ["Dog"]}}, False),
        ("rect", {"item_index": 1}, False),
        ("rect", {"value": {"x": "left"}}, False),
    ],
)
def test_a_process_that_remembers_nothing_finds_a_box_of_a_smart_only_tag_in_the_draft(
    page, segmenter, from_name, change, is_found
):
    page.body["label_config"] = SEPARATE
    page.save({**SMART, "from_name": from_name, **change})
    page.ask(key_point(*INSIDE))
    assert (segmenter.boxes == [SMART_BOX]) == is_found


def test_a_box_that_the_draft_does_not_show_any_more_is_not_refined(page, segmenter):
    page.ask(SMART)
    page.save(at="12:05")
    page.ask(key_point(*INSIDE))
    assert segmenter.boxes[-1] is None


@pytest.mark.parametrize("config", [None, SEPARATE])
def test_a_box_whose_mask_is_accepted_is_not_refined(page, segmenter, config):
    page.body["label_config"] = config or page.body["label_config"]
    (region,) = page.ask(SMART)["results"][0]["result"]
    page.save(SMART, region)
    page.ask(key_point(*INSIDE))
    assert segmenter.boxes[-1] is None


@pytest.mark.parametrize("is_config", [True, False])
def test_a_box_is_not_refined_where_the_image_or_the_configuration_is_another(page, segmenter, make_png, is_config):
    page.ask(SMART)
    if is_config:
        page.body["label_config"] += " "
    else:
        page.task["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png(640, 481)).decode()
    page.ask(key_point(*INSIDE))
    assert segmenter.boxes[-1] is None


def test_the_box_of_a_colleague_is_not_refined(page, colleague, segmenter):
    page.save(BY_HAND[0])
    page.ask(SMART)
    colleague.ask(key_point(*INSIDE))
    assert segmenter.boxes[-1] is None


def test_a_box_drawn_by_hand_is_not_refined(page, segmenter):
    page.save(*BY_HAND)
    page.ask(key_point(6, 6))
    assert segmenter.boxes == [None]


def test_a_refined_box_is_no_correction_of_a_drafted_region(make_client, interactive, segmenter):
    page = Page(make_client({"M2N2_REFINE_REGION": "true"}), interactive)
    brush = {"id": "old", "type": "brushlabels", "from_name": "brush", "to_name": "image"}
    brush["value"] = {"rle": encode(np.ones(SIZE, bool)), "brushlabels": ["Cat"]}
    page.save(brush)
    page.ask(SMART)
    page.ask(key_point(*INSIDE))
    assert segmenter.boxes[-1] == SMART_BOX
    assert segmenter.starts == [None, None]


# --- labels in turn


def test_going_back_to_a_label_restores_its_clicks_and_its_box(page, segmenter):
    dog = {"value": {"keypointlabels": ["Dog"]}}
    page.ask(SMART)
    page.ask(key_point(*INSIDE))
    page.ask(key_point(*FAR, id="dog", **dog))
    assert (segmenter.boxes[-1], len(segmenter.asked[-1][1])) == (None, 1)
    page.ask(key_point(*INSIDE), key_point(22, 42))
    assert segmenter.boxes[-1] == SMART_BOX
    assert len(segmenter.asked[-1][1]) == 2


def test_the_log_tells_nothing_of_boxes_that_are_fine(page, caplog):
    with caplog.at_level(logging.WARNING):
        page.ask(*BY_HAND, SMART)
        page.ask(key_point(*INSIDE))
    assert "box" not in caplog.text
