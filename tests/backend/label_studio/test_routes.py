"""Label Studio's protocol, driven with the requests that a real Label Studio 1.23.2 sent."""

from __future__ import annotations

import base64
import logging

import numpy as np
import pytest

from backend.engines.background import BackgroundEngine
from backend.label_studio.brush_rle import decode, encode
from m2n2_engine.types import Box, Click
from tests.helpers.label_studio.requests import ask, points_of, rectangle

EMPTY = {"results": [{"result": [], "score": 0.0, "model_version": "disc-1"}]}


def test_setup_answers_the_version_and_logs_nothing_of_the_body(client, recorded, segmenter, caplog):
    body = recorded("setup_request")
    with caplog.at_level(logging.DEBUG):
        response = client.post("/setup", json=body)
    assert (response.status_code, response.json) == (200, {"model_version": "disc-1"})
    assert body["access_token"] not in caplog.text
    assert segmenter.asked == []


@pytest.mark.parametrize("extra", [{"alpha": 1}, '{"alpha": 1}', "", None])
def test_setup_takes_every_form_of_extra_params(client, recorded, extra):
    body = {**recorded("setup_request"), "extra_params": extra}
    assert client.post("/setup", json=body).status_code == 200


def test_versions(client):
    assert client.get("/versions").json == {"versions": ["disc-1"]}


@pytest.mark.parametrize("name", ["webhook_ANNOTATION_CREATED", "webhook_ANNOTATIONS_DELETED"])
def test_webhook_takes_every_event(client, recorded, name):
    assert client.post("/webhook", json=recorded(name)).status_code == 204
    assert client.post("/webhook", json={"action": "START_TRAINING", "project": {}}).status_code == 204


def test_batch_has_one_empty_list_a_task(client, recorded, segmenter):
    assert ask(client, recorded("predict_batch_2_tasks")) == {"results": [[], []]}
    assert segmenter.asked == []


def test_one_click_answers_a_brush_region(client, interactive, segmenter):
    body = interactive(1)
    (prediction,) = ask(client, body)["results"]
    (region,) = prediction["result"]
    rle = region["value"].pop("rle")
    identifier = region.pop("id")
    assert prediction == {"result": [region], "score": 0.75, "model_version": "disc-1"}
    assert region == {
        "from_name": "brush",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "score": 0.75,
        "readonly": False,
        "value": {"format": "rle", "brushlabels": ["Cat"]},
    }
    assert len(identifier) == 32
    assert identifier != points_of(body)[0]["id"]
    mask = decode(rle, (480, 640))
    rows, columns = np.nonzero(mask)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((198.9, 217.5), abs=0.5)
    assert segmenter.asked[0][0] == (480, 640, 3)


def test_clicks_are_fractional_pixels_in_order_with_their_signs(client, interactive, segmenter):
    ask(client, interactive(3))
    (clicks,) = (clicks for _, clicks in segmenter.asked)
    assert [click.positive for click in clicks] == [True, True, False]
    assert clicks[0] == Click(31.0727496917386 / 100 * 640, 45.31442663378546 / 100 * 480)


def test_every_answer_has_a_new_region_id(client, interactive):
    ids = {ask(client, interactive(1))["results"][0]["result"][0]["id"] for _ in range(3)}
    assert len(ids) == 3


def test_server_timing(client, interactive):
    first, second = (client.post("/predict", json=interactive(1)).headers["Server-Timing"] for _ in range(2))
    for timing in (first, second):
        assert [part.split(";")[0] for part in timing.split(", ")] == ["fetch", "wait", "attention", "clicks", "encode"]
    assert "clicks;dur=125.0" in second


def test_points_of_other_labels_and_images_do_not_count(client, interactive, segmenter):
    body = interactive(3)
    points_of(body)[0]["value"]["keypointlabels"] = ["Dog"]
    points_of(body)[1]["to_name"] = "other"
    points_of(body)[2]["is_positive"] = True
    region = ask(client, body)["results"][0]["result"][0]
    assert region["value"]["brushlabels"] == ["Cat"]
    assert len(segmenter.asked[0][1]) == 1


def test_a_missing_sign_is_positive(client, interactive, segmenter):
    body = interactive(1)
    del points_of(body)[0]["is_positive"]
    ask(client, body)
    assert segmenter.asked[0][1][0].positive


def test_a_missing_sign_is_found_in_the_draft(client, interactive, segmenter):
    body = interactive(3)
    drafted = [dict(point) for point in points_of(body)]
    body["tasks"][0]["drafts"] = [{"id": 1, "result": [{"type": "relation", "from_id": "a"}]}, {"result": drafted}]
    for point in points_of(body):
        del point["is_positive"]
    ask(client, body)
    assert [click.positive for click in segmenter.asked[0][1]] == [True, True, False]


@pytest.mark.parametrize("keep", [slice(0, 0), slice(2, 3)])
def test_no_points_and_only_negatives_have_an_empty_result(client, interactive, segmenter, keep):
    body = interactive(3)
    body["params"]["context"]["result"] = points_of(body)[keep]
    assert ask(client, body) == EMPTY
    assert segmenter.asked == []


def test_a_rectangle_is_a_box_prompt_in_pixels(client, interactive, segmenter):
    body = interactive(1)
    body["params"]["context"]["result"] = [rectangle(10, 20, 25, 50)]
    (region,) = ask(client, body)["results"][0]["result"]
    assert segmenter.boxes == [Box(64, 96, 224, 336)]
    assert segmenter.asked[0][1] == ()
    assert (region["type"], region["value"]["brushlabels"]) == ("brushlabels", ["Cat"])
    assert decode(region["value"]["rle"], (480, 640)).sum() == 160 * 240


def test_what_sticks_out_of_a_rectangle_is_cut_off(client, interactive, segmenter):
    body = interactive(1)
    body["params"]["context"]["result"] = [rectangle(-5, 90, 25, 50)]
    ask(client, body)
    assert segmenter.boxes == [Box(0, 432, 128, 480)]


def test_a_turned_rectangle_has_an_empty_result_and_a_line_in_the_log(client, interactive, caplog):
    body = interactive(1)
    turned = rectangle(10, 20, 25, 50)
    turned["value"]["rotation"] = 30
    body["params"]["context"]["result"] = [turned]
    assert ask(client, body) == EMPTY
    assert "a rectangle is rotated" in caplog.text


def test_other_tools_have_an_empty_result_and_are_named_in_the_log(client, interactive, caplog):
    body = interactive(1)
    body["params"]["context"]["result"] = [{"type": "ellipselabels", "value": {}}]
    assert ask(client, body) == EMPTY
    assert "no answer for regions of type ['ellipselabels']" in caplog.text


def test_a_dragged_point_is_asked_for_where_it_is_now(client, interactive, segmenter):
    body = interactive(2)
    ask(client, body)
    points_of(body)[0]["value"]["x"] = 50
    ask(client, body)
    assert [clicks[0].x for _, clicks in segmenter.asked] == [pytest.approx(198.87, abs=0.01), 320]
    assert segmenter.asked[0][1][1] == segmenter.asked[1][1][1]


def test_a_point_with_several_labels_has_all_that_the_brush_has(client, interactive):
    body = interactive(1)
    points_of(body)[0]["value"]["keypointlabels"] = ["Cat", "Dog", "Unknown"]
    assert ask(client, body)["results"][0]["result"][0]["value"]["brushlabels"] == ["Cat", "Dog"]


def as_pages(body, png, pages=3):
    body["label_config"] = body["label_config"].replace('value="$image"', 'valueList="$pages"')
    one_pixel_more = ["data:image/png;base64," + base64.b64encode(png(64 + page, 48)).decode() for page in range(pages)]
    body["tasks"][0]["data"] = {"pages": one_pixel_more}


def test_of_a_task_with_pages_the_clicked_one_is_segmented(client, interactive, segmenter, make_png):
    body = interactive(3)
    as_pages(body, make_png)
    for point, page in zip(points_of(body), (0, 1, 1), strict=True):
        point.update(item_index=page, original_width=65, original_height=48, is_positive=True)
    region = ask(client, body)["results"][0]["result"][0]
    assert region["item_index"] == 1
    assert segmenter.asked[0][0] == (48, 65, 3)
    assert len(segmenter.asked[0][1]) == 2, "the first point lies on another page"


def test_without_a_page_the_first_one_is_meant(client, interactive, segmenter, make_png):
    body = interactive(1)
    as_pages(body, make_png)
    assert "item_index" not in ask(client, body)["results"][0]["result"][0]
    assert segmenter.asked[0][0] == (48, 64, 3)


@pytest.mark.parametrize(("page", "pages"), [(3, 3), (0, 0)])
def test_a_page_that_is_not_there_is_named(client, interactive, make_png, page, pages):
    body = interactive(1)
    as_pages(body, make_png, pages)
    points_of(body)[0]["item_index"] = page
    response = client.post("/predict", json=body)
    assert (response.status_code, response.json["error"]["type"]) == (400, "InvalidRequest")
    assert f"no list with a page {page}" in response.json["error"]["message"]


def test_a_configuration_that_cannot_work_is_named_once(client, interactive, recorded, caplog):
    body = interactive(1)
    body["label_config"] = body["label_config"].replace('value="Dog"', 'value="Hund"', 1)
    client.post("/setup", json={**recorded("setup_request"), "schema": body["label_config"]})
    assert "no BrushLabels (or BitmaskLabels, or PolygonLabels) has 'Dog'" in caplog.text
    caplog.clear()
    ask(client, body)
    assert "cannot work" not in caplog.text


def test_too_many_points_are_no_prompt(client, interactive):
    body = interactive(1)
    body["params"]["context"]["result"] = points_of(body) * 201
    response = client.post("/predict", json=body)
    assert response.status_code == 400
    assert "the context has 201 regions of type keypointlabels" in response.json["error"]["message"]


def test_drafts_of_any_form_do_not_disturb_a_click(client, interactive):
    body = interactive(1)
    odd = [1, None, {"id": 7}, {"id": ["a"]}, {"type": "relation"}, {"id": "a", "value": None}, {"item_index": "x"}]
    body["tasks"][0]["drafts"] = [{"result": odd}]
    assert ask(client, body)["results"][0]["result"]


def test_a_type_of_any_form_does_not_disturb_either(client, interactive):
    body = interactive(1)
    points_of(body).insert(0, {"type": ["keypointlabels"]})
    points_of(body).insert(0, {"type": None})
    assert ask(client, body)["results"][0]["result"]


def test_a_box_gets_through_to_an_engine_that_was_loaded_in_the_background(make_client, interactive, segmenter):
    body = interactive(1)
    body["params"]["context"]["result"] = [rectangle(10, 20, 25, 50)]
    ask(make_client(instead=BackgroundEngine(lambda: segmenter)), body)
    assert segmenter.boxes == [Box(64, 96, 224, 336)]


def test_a_rotated_image_has_an_empty_result_and_a_line_in_the_log(client, interactive, caplog):
    body = interactive(1)
    points_of(body)[0]["image_rotation"] = 90
    assert ask(client, body) == EMPTY
    assert "rotated by 90 degrees" in caplog.text


def test_a_missing_brush_has_an_empty_result_and_is_named_in_the_log(client, interactive, caplog):
    body = interactive(1)
    body["label_config"] = body["label_config"].replace("BrushLabels", "EllipseLabels")
    assert ask(client, body) == EMPTY
    assert "no BrushLabels, BitmaskLabels or PolygonLabels with toName='image' and a Label 'Cat'" in caplog.text


def test_an_empty_mask_is_an_empty_result(client, interactive, segmenter):
    segmenter.radius_pixels = 0
    assert ask(client, interactive(1))["results"][0]["result"] == []


def test_a_mask_of_another_size_is_scaled_and_the_log_says_so(client, interactive, segmenter, caplog):
    region = ask(client, interactive(1, size=(320, 240)))["results"][0]["result"][0]
    assert (region["original_width"], region["original_height"]) == (640, 480)
    rows, columns = np.nonzero(decode(region["value"]["rle"], (480, 640)))
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((198.9, 217.5), abs=1)
    assert segmenter.asked[0][0] == (240, 320, 3)
    assert "gives the image as 640 x 480 pixels, but it has 320 x 240" in caplog.text


def test_a_point_without_sizes_takes_those_of_the_image(client, interactive):
    body = interactive(1, size=(320, 240))
    del points_of(body)[0]["original_width"], points_of(body)[0]["original_height"]
    region = ask(client, body)["results"][0]["result"][0]
    assert (region["original_width"], region["original_height"]) == (320, 240)


@pytest.mark.parametrize(
    ("given", "pixel"), [(-1.2, 0.0), (-1e-9, 0.0), (0, 0.0), (100, 640.0), (100.0000005, 640.0), (100.2, 640.0)]
)
def test_a_click_that_slips_over_the_edge_is_meant_at_the_edge(client, interactive, segmenter, given, pixel):
    body = interactive(2)
    points_of(body)[1]["value"]["x"] = given
    ask(client, body)
    assert segmenter.asked[0][1][1].x == pixel


def test_a_negative_click_far_outside_costs_the_others_nothing(client, interactive, segmenter):
    body = interactive(3)
    points_of(body)[2]["value"]["y"] = 300
    ask(client, body)
    assert [click.positive for click in segmenter.asked[0][1]] == [True, True]


def test_a_negative_click_far_outside_alone_is_an_empty_result(make_client, interactive, segmenter):
    body = interactive(3)
    del points_of(body)[:2]
    points_of(body)[0]["value"]["y"] = 300
    body["tasks"][0]["drafts"] = [{"result": [{"id": "a", "type": "brushlabels"}]}]
    assert ask(make_client({"M2N2_REFINE_REGION": "true"}), body) == EMPTY
    assert segmenter.asked == []


def set_image(body, value):
    body["tasks"][0]["data"]["image"] = value


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda body: points_of(body)[0]["value"].update(x=110), "InvalidClicks", "(704, 217.509) lies outside"),
        (lambda body: points_of(body)[0]["value"].update(y=-9), "InvalidClicks", "31.1 % of its width, -9.0 % of"),
        (lambda body: points_of(body)[0]["value"].update(x="left"), "InvalidRequest", "value.x"),
        (lambda body: points_of(body)[0]["value"].pop("keypointlabels"), "InvalidRequest", "keypointlabels"),
        (lambda body: points_of(body)[0].pop("to_name"), "InvalidRequest", "to_name"),
        (lambda body: points_of(body)[0].update(original_width=0), "InvalidRequest", "original_width"),
        (lambda body: points_of(body)[0].update(original_width=10**6), "InvalidRequest", "M2N2_MAX_IMAGE_MEGAPIXELS"),
        (lambda body: body["params"]["context"].update(result=[1]), "InvalidRequest", "params.context.result.0"),
        (lambda body: body.update(tasks=[]), "InvalidRequest", "one task"),
        (lambda body: body.pop("tasks"), "InvalidRequest", "tasks: Field required"),
        (lambda body: body.update(label_config=""), "InvalidRequest", "is no XML"),
        (lambda body: set_image(body, None), "InvalidRequest", "no image under '$image'"),
        (lambda body: set_image(body, [5]), "InvalidRequest", "there is 5, which is no text"),
        (lambda body: set_image(body, "data:image/png;base64,AAAA"), "InvalidImage", "data: URI"),
    ],
)
def test_what_does_not_follow_the_protocol_is_named(client, interactive, segmenter, change, kind, message):
    body = interactive(1)
    change(body)
    response = client.post("/predict", json=body)
    assert response.status_code == 400
    assert response.json["error"]["type"] == kind
    assert message in response.json["error"]["message"]
    assert segmenter.asked == []


def test_not_a_number_is_refused(client, interactive):
    body = interactive(1)
    points_of(body)[0]["value"]["x"] = float("nan")
    assert client.post("/predict", json=body).status_code == 400


# --- corrections of a drafted region


class Drafting:
    """Asks for one click on the sample picture, with brush regions in the draft. starts: what the engine got."""

    def __init__(self, make_client, interactive, segmenter):
        self.client = make_client({"M2N2_REFINE_REGION": "true"})
        self.make_body = interactive
        self.starts = segmenter.starts

    def body(self, *regions):
        body = self.make_body(1)
        body["tasks"][0]["drafts"] = [{"id": 1, "result": list(regions)}]
        return body

    def answer(self, *regions, **point):
        body = self.body(*regions)
        points_of(body)[0].update(point)
        return ask(self.client, body)["results"][0]["result"]


@pytest.fixture
def drafting(make_client, interactive, segmenter):
    return Drafting(make_client, interactive, segmenter)


def draft_brush(identifier, mask, **more):
    value = {"format": "rle", "rle": encode(mask), "brushlabels": ["Cat"]}
    place = {"from_name": "brush", "to_name": "image", "type": "brushlabels", "original_width": 640}
    return {"id": identifier, **place, "value": value, **more}


def draw_square(shape=(480, 640)):
    """Over the sample's first key point."""
    mask = np.zeros(shape, bool)
    mask[200:260, 150:260] = True
    return mask


def test_clicks_in_a_drafted_region_correct_it_and_replace_it(drafting):
    mask = draw_square()
    (region,) = drafting.answer(draft_brush("lower", ~mask | mask), draft_brush("upper", mask))
    np.testing.assert_array_equal(drafting.starts[0], mask)
    assert region["id"] == "upper"
    assert decode(region["value"]["rle"], (480, 640))[mask].all()


def test_a_negative_click_alone_corrects_a_drafted_region(drafting):
    mask = draw_square()
    (region,) = drafting.answer(draft_brush("old", mask), is_positive=False)
    np.testing.assert_array_equal(drafting.starts[0], mask)
    assert region["id"] == "old"
    assert not (decode(region["value"]["rle"], (480, 640)) & ~mask).any()


@pytest.mark.parametrize(
    "region",
    [
        draft_brush("old", ~draw_square()),
        draft_brush("old", draw_square(), from_name="other"),
        draft_brush("old", np.ones((4, 4), bool)),
        draft_brush("old", draw_square(), value={"rle": [0, 1, 2], "brushlabels": ["Cat"]}),
        draft_brush("old", draw_square(), value={"rle": ["a"], "brushlabels": ["Cat"]}),
        draft_brush("old", draw_square(), value={"rle": "00", "brushlabels": ["Cat"]}),
    ],
)
def test_other_regions_and_unreadable_ones_are_passed_over(drafting, region):
    (found,) = drafting.answer(region)
    assert drafting.starts == [None]
    assert found["id"] != "old"


def test_an_unreadable_region_is_named_in_the_log(drafting, caplog):
    drafting.answer(draft_brush("torn", draw_square(), value={"rle": [0, 1], "brushlabels": ["Cat"]}))
    assert "the region torn of the draft is passed over: the brush RLE is cut short" in caplog.text


def test_by_default_a_drafted_region_is_left_alone(client, drafting):
    (region,) = ask(client, drafting.body(draft_brush("old", draw_square())))["results"][0]["result"]
    assert drafting.starts == [None]
    assert region["id"] != "old"


def test_where_the_preset_cannot_start_from_a_mask_the_click_is_answered_anew(drafting, segmenter, caplog):
    segmenter.takes_masks = False
    (region,) = drafting.answer(draft_brush("old", draw_square()))
    assert drafting.starts[-1] is None
    assert region["id"] != "old"
    assert "M2N2_REFINE_REGION has no effect" in caplog.text
