"""Configurations as people write them, and Label Studio's page takes them, through the server's endpoint."""

from __future__ import annotations

import base64
import io
import logging

import numpy as np
import pytest
from PIL import Image as PillowImage

WIDTH, HEIGHT = 320, 240
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<KeyPointLabels name="kp" toName="image" smartOnly="true"><Label value="Cat"/></KeyPointLabels>'
    '<BrushLabels name="brush" toName="image" smart="false"><Label value="Cat"/></BrushLabels></View>'
)
REPEATER = (
    '<View><Repeater on="$pages" indexFlag="{{idx}}" mode="pagination">'
    '<Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>'
    '<KeyPointLabels name="kp_{{idx}}" toName="page_{{idx}}" smart="true"><Label value="Cat"/></KeyPointLabels>'
    '<BrushLabels name="brush_{{idx}}" toName="page_{{idx}}"><Label value="Cat"/></BrushLabels></Repeater></View>'
)


@pytest.fixture
def picture(make_png):
    return "data:image/png;base64," + base64.b64encode(make_png(WIDTH, HEIGHT)).decode()


@pytest.fixture
def click(client):
    """Asks for the object in the middle of an image; gives the response."""

    def ask(data, config=CONFIG, to_name="image"):
        point = {
            "id": "p",
            "type": "keypointlabels",
            "from_name": "kp",
            "to_name": to_name,
            "is_positive": True,
            "original_height": HEIGHT,
            "value": {"x": 50, "y": 50, "width": 0.2, "keypointlabels": ["Cat"]},
        }
        body = {"tasks": [{"id": 1, "data": data}], "label_config": config, "params": {"context": {"result": [point]}}}
        return client.post("/predict", json=body)

    return ask


def read_region(response):
    """The one region of an answer."""
    assert response.status_code == 200, response.json
    (region,) = response.json["results"][0]["result"]
    return region


@pytest.mark.parametrize(
    ("value", "wrap"),
    [
        ("$image.url", lambda picture: {"image": {"url": picture}}),
        ("$images[1]", lambda picture: {"images": ["nothing", picture]}),
        ("$images", lambda picture: {"images": [picture]}),
        ("data:image/png;base64,$b64", lambda picture: {"b64": picture.partition(",")[2]}),
        ("$image", lambda picture: {"image": f"  {picture}\n"}),
    ],
)
def test_an_image_is_found_where_the_page_finds_it(click, picture, value, wrap):
    region = read_region(click(wrap(picture), CONFIG.replace("$image", value)))
    assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)


def test_what_is_there_in_place_of_an_image_is_named_without_its_data(click, picture, caplog):
    with caplog.at_level(logging.DEBUG):
        response = click({"image": {"url": picture}})
    assert (response.status_code, response.json["error"]["type"]) == (400, "InvalidRequest")
    message = response.json["error"]["message"]
    assert "there is an object with the keys 'url'; name the one with the address, as in $image.url" in message
    assert picture[40:80] not in message + caplog.text


def test_an_opened_task_without_an_image_is_named_in_the_log(client, caplog):
    body = {"tasks": [{"id": 1, "data": {"image": {"url": "x"}}}], "label_config": CONFIG}
    with caplog.at_level(logging.INFO):
        assert client.post("/predict", json=body).json == {"results": [[]]}
    assert "nothing is prepared: the task's data has no image under '$image'" in caplog.text


def test_a_click_on_a_page_of_a_repeater_is_answered_for_its_tags(click, picture, segmenter, make_png):
    second = "data:image/png;base64," + base64.b64encode(make_png(WIDTH + 1, HEIGHT)).decode()
    data = {"pages": [{"url": picture}, {"url": second}]}
    for page, width in enumerate((WIDTH, WIDTH + 1)):
        region = read_region(click(data, REPEATER, f"page_{page}"))
        assert (region["from_name"], region["to_name"]) == (f"brush_{page}", f"page_{page}")
        assert segmenter.asked[-1][0] == (HEIGHT, width, 3)


def test_tags_in_lower_case_are_answered(click, picture):
    region = read_region(click({"image": picture}, CONFIG.replace("BrushLabels", "brushlabels")))
    assert (region["type"], region["from_name"]) == ("brushlabels", "brush")


def test_a_bitmask_is_answered_with_what_that_tag_saves(click, picture):
    brush = read_region(click({"image": picture}))
    region = read_region(click({"image": picture}, CONFIG.replace("BrushLabels", "BitmaskLabels")))
    assert (region["type"], region["value"]["bitmasklabels"]) == ("bitmasklabels", ["Cat"])
    assert brush.keys() == region.keys()
    head, _, payload = region["value"]["imageDataURL"].partition(",")
    file = PillowImage.open(io.BytesIO(base64.b64decode(payload)))
    assert (head, file.mode, file.size) == ("data:image/png;base64", "RGBA", (WIDTH, HEIGHT))
    pixels = np.array(file)
    assert (pixels == pixels[..., :1]).all(), "the same by its colour as by alpha"
    assert set(np.unique(pixels[..., 3])) == {0, 255}
    # The stand-in segmenter answers with a disc around the click.
    rows, columns = np.nonzero(pixels[..., 3])
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((WIDTH / 2, HEIGHT / 2), abs=0.5)


def test_with_a_brush_and_a_bitmask_the_brush_gets_the_mask(click, picture):
    both = CONFIG.replace("</View>", CONFIG[CONFIG.index("<BrushLabels") :].replace("Brush", "Bitmask"))
    assert read_region(click({"image": picture}, both))["type"] == "brushlabels"


@pytest.mark.parametrize("tag", ["VectorLabels", "EllipseLabels"])
def test_a_tag_that_no_mask_goes_to_is_named_in_the_log(click, picture, caplog, tag):
    response = click({"image": picture}, CONFIG.replace("BrushLabels", tag))
    assert response.json["results"][0]["result"] == []
    assert f"{tag} 'brush' can hold none" in caplog.text
