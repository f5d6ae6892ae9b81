"""What a configuration can have beside clicks and brush masks, in the real page: boxes, polygons, pages."""

from __future__ import annotations

import pytest

from tests.helpers.label_studio.photographs import assert_same, compute_iou, decode_region, rasterise, read_sample

CUP, NOSE = (0.40, 0.45), (0.50, 0.60)
CUP_BOX = (0.27, 0.02), (0.72, 0.80)
SPOON, TABLE = (0.62, 0.74), (0.90, 0.55)
BESIDE_THE_CUP = ((0.80, 0.05), (0.92, 0.20)), ((0.80, 0.25), (0.92, 0.40))

IMAGE = '<Image name="image" value="$image"/>'
PAGES = '<Image name="image" valueList="$images"/>'
POINTS = "KeyPointLabels", 'smartOnly="true"'
BOXES = "RectangleLabels", 'smartOnly="true"'
SMART_AND_PLAIN_BOXES = "RectangleLabels", 'smart="true"'
BRUSH = "BrushLabels", 'smart="false"'
POLYGONS = "PolygonLabels", 'smart="false"'


@pytest.fixture
def configure(studio, project):
    """Gives the project another configuration: an image, and controls, each with the same labels."""

    def set_config(image, *controls):
        labels = "".join(f'<Label value="{label}"/>' for label in ("Cat", "Cup"))
        tags = (f'<{tag} name="{tag}" toName="image" {flag}>{labels}</{tag}>' for tag, flag in controls)
        studio.client.patch(f"/api/projects/{project}/", {"label_config": f"<View>{image}{''.join(tags)}</View>"})

    return set_config


def test_a_box_gives_the_mask_of_what_is_in_it(make_annotator, configure, upload, project, segment):
    configure(IMAGE, BOXES, BRUSH)
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    exchange = annotator.draw_box("Cup", *CUP_BOX)
    annotator.shoot("suggested")
    assert [region["type"] for region in exchange.asked] == ["rectanglelabels"]
    annotator.accept()
    annotator.shoot("accepted")
    (saved,) = annotator.submit()
    assert (saved["type"], saved["value"]["brushlabels"]) == ("brushlabels", ["Cup"])
    assert_same(decode_region(saved), segment(coffee, exchange.asked))


def test_of_boxes_by_hand_and_a_smart_one_only_that_gets_a_mask(make_annotator, configure, upload, project, segment):
    configure(IMAGE, SMART_AND_PLAIN_BOXES, BRUSH)
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    for corners in BESIDE_THE_CUP:
        annotator.draw_box_by_hand("Cup", *corners)
    annotator.prepare()
    exchange = annotator.draw_box("Cup", *CUP_BOX)
    annotator.shoot("suggested")
    assert len(exchange.asked) == 3, "the page sends all of them"
    assert_same(decode_region(exchange.region), segment(coffee, exchange.asked[-1:]))
    annotator.accept()
    saved = annotator.submit()
    assert sorted(region["type"] for region in saved) == ["brushlabels", "rectanglelabels", "rectanglelabels"]


def test_clicks_refine_a_box(make_annotator, configure, upload, project, segment):
    configure(IMAGE, POINTS, BOXES, BRUSH)
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    annotator.take_smart_tool("rectangle-tool")
    box = annotator.draw_box("Cup", *CUP_BOX, row=1)
    annotator.take_smart_tool("key-point-tool")

    first = annotator.click("Cup", *SPOON, alt=True, over_box=True)
    annotator.shoot("refined")
    assert [region["type"] for region in first.asked] == ["keypointlabels"], "the page does not send the box"
    assert_same(decode_region(first.region), segment(coffee, [*box.asked, *first.asked]))
    assert not decode_region(first.region)[int(SPOON[1] * 400), int(SPOON[0] * 600)]
    # From now on the draft says that the box is still there.
    annotator.await_draft(2)
    second = annotator.click("Cup", *CUP, over_box=True)
    assert len(second.asked) == 2
    assert_same(decode_region(second.region), segment(coffee, [*box.asked, *second.asked]))
    annotator.accept()
    (saved,) = annotator.submit()
    assert (saved["type"], saved["value"]["brushlabels"]) == ("brushlabels", ["Cup"])


def test_of_two_labels_in_turn_each_gets_its_clicks_back(make_annotator, configure, upload, project, segment):
    configure(IMAGE, POINTS, BRUSH)
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    cup = annotator.click("Cup", *CUP)
    other = annotator.click("Cat", *TABLE)
    annotator.shoot("other-label")
    assert not annotator.shows(cup.region["id"]), "the page takes the pending mask of the other label away"
    back = annotator.click("Cup", *SPOON)
    annotator.shoot("back")
    assert back.asked[0]["id"] == cup.asked[0]["id"]
    assert_same(decode_region(back.region), segment(coffee, back.asked))
    again = annotator.click("Cat", *NOSE)
    assert [len(back.asked), len(again.asked)] == [2, 2]
    assert_same(decode_region(again.region), segment(coffee, again.asked))
    assert again.asked[0]["id"] == other.asked[0]["id"]

    annotator.accept()
    # That deleted the clicks of both labels.
    assert len(annotator.click("Cup", *CUP).asked) == 1
    annotator.accept()
    saved = annotator.submit()
    assert [region["value"]["brushlabels"] for region in saved] == [["Cat"], ["Cup"]]


def test_a_click_gives_a_polygon_beside_the_mask(make_annotator, configure, upload, project, segment):
    configure(IMAGE, POINTS, BRUSH, POLYGONS)
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    exchange = annotator.click("Cup", *CUP)
    annotator.shoot("suggested")
    annotator.accept()
    annotator.shoot("accepted")
    brush, *polygons = annotator.submit()
    mask = segment(coffee, exchange.asked)
    assert_same(decode_region(brush), mask)
    assert {(region["type"], *region["value"]["polygonlabels"]) for region in polygons} == {("polygonlabels", "Cup")}
    # Seen 0.9945, at the tolerance of one pixel that is the default.
    assert compute_iou(rasterise(polygons), mask) > 0.98


def test_a_click_on_the_second_page_gives_the_mask_of_that_page(
    make_annotator, configure, upload, project, studio, segment
):
    chelsea = read_sample("chelsea.png")
    uploads = upload("coffee.png", read_sample("coffee.png")), upload("chelsea.png", chelsea)
    pages = [studio.client.get(f"/api/tasks/{task}")["data"]["image"] for task in uploads]
    configure(PAGES, POINTS, BRUSH)
    path = f"/api/projects/{project}/import?return_task_ids=true"
    (task,) = studio.client.post(path, [{"images": pages}])["task_ids"]
    annotator = make_annotator()
    annotator.open_task(project, task)
    annotator.prepare()

    first = annotator.click("Cat", *CUP)
    assert (first.region["item_index"], first.region["original_width"]) == (0, 600)
    annotator.turn_page()
    second = annotator.click("Cat", *NOSE)
    annotator.shoot("second-page")
    # The page sends the points of all pages.
    assert [point["item_index"] for point in second.asked] == [0, 1]
    annotator.accept()
    (saved,) = annotator.submit()
    assert (saved["item_index"], saved["original_width"], saved["original_height"]) == (1, 451, 300)
    assert_same(decode_region(saved), segment(chelsea, second.asked[1:]))
