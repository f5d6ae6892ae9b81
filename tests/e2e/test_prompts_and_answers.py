"""What a configuration can have beside clicks and brush masks, in the real page: boxes, polygons, pages."""

from __future__ import annotations

import pytest

from tests.helpers.label_studio.photographs import assert_same, compute_iou, decode_region, rasterise, read_sample

CUP, NOSE = (0.40, 0.45), (0.50, 0.60)
CUP_BOX = (0.27, 0.02), (0.72, 0.80)

IMAGE = '<Image name="image" value="$image"/>'
PAGES = '<Image name="image" valueList="$images"/>'
POINTS = "KeyPointLabels", 'smartOnly="true"'
BOXES = "RectangleLabels", 'smartOnly="true"'
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
