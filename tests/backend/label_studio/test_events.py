"""The newer interactive protocol of Label Studio, that of its video backend, for images: requests and their answers, as
its description has them."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image as PillowImage

from m2n2_engine.types import Box, Click
from tests.helpers.label_studio.requests import ask

CONFIG = """<View><Image name="image" value="$picture"/>
<BrushLabels name="brush" toName="image"><Label value="Cat"/></BrushLabels></View>"""
LONGEST_SECONDS = 10


@pytest.fixture
def picture(make_png):
    return "data:image/png;base64," + base64.b64encode(make_png()).decode()


@pytest.fixture
def send(client, picture):
    """Sends an event and gives the one prediction."""

    def send_event(event, *items, data=None, config=CONFIG, **context):
        context = {"event": event, "result": list(items), **context}
        task = {"id": 7, "data": {"picture": picture} if data is None else data}
        body = {"tasks": [task], "label_config": config, "params": {"context": context}}
        (prediction,) = ask(client, body)["results"]
        return prediction

    return send_event


def point(x, y, **value):
    return {"type": "keypointlabels", "value": {"x": x, "y": y, **value}}


def box(x, y, width, height):
    return {"type": "rectanglelabels", "value": {"x": x, "y": y, "width": width, "height": height}}


def read_mask(prediction):
    (item,) = prediction["result"]
    assert (item["type"], item["origin"], len(item["id"])) == ("bitmask", "manual", 32)
    head, _, payload = item["value"]["imageDataURL"].partition(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(payload))).convert("RGBA"))
    assert pixels.shape[:2] == (item["value"]["height"], item["value"]["width"])
    # Whoever looks at the colour and whoever looks at the transparency see the same mask.
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 3] > 0


@pytest.mark.parametrize("tasks", [{}, {"tasks": []}, {"tasks": None}])
def test_capabilities_are_told_without_a_task(client, tasks):
    body = {**tasks, "params": {"context": {"event": "capabilities"}}}
    (prediction,) = ask(client, body)["results"]
    (item,) = prediction["result"]
    assert {"id", "type", "origin", "value"} == set(item)
    assert (item["type"], item["origin"]) == ("capabilities", "manual")
    assert item["value"]["prompts"] == ["point", "box"]
    assert item["value"]["model_info"] == {"name": "M2N2", "version": "disc-1"}
    assert {"tag": "BitmaskLabels", "output": "mask"} in item["value"]["targets"]
    assert "track" not in str(item["value"])
    assert "Video" not in str(item["value"])


def test_a_click_is_answered_with_a_bitmask(send, segmenter):
    prediction = send("predict", point(25, 50), point(50, 50, positive=False), from_name="mask", to_name="image")
    mask = read_mask(prediction)
    assert segmenter.asked[0][1] == (Click(160, 240), Click(320, 240, positive=False))
    y, x = np.mgrid[:480, :640] + 0.5
    np.testing.assert_array_equal(mask, (x - 160) ** 2 + (y - 240) ** 2 < 40**2)
    (item,) = prediction["result"]
    assert (item["from_name"], item["to_name"]) == ("mask", "image")
    assert (prediction["score"], prediction["model_version"]) == (0.75, "disc-1")


@pytest.mark.parametrize("event", [{"event": "predict"}, {}, {"event": None}])
def test_without_an_event_a_click_without_an_image_and_labels_is_a_predict(client, picture, event):
    context = {**event, "result": [point(25, 50)]}
    body = {"tasks": [{"id": 7, "data": {"picture": picture}}], "params": {"context": context}}
    assert read_mask(ask(client, body)["results"][0])[240, 160]


def test_the_newest_box_counts_and_clicks_correct_it(send, segmenter):
    send("predict", box(5, 5, 10, 10), point(15, 40, positive=False), box(10, 20, 25, 50), point(40, 30))
    assert segmenter.boxes == [Box(64, 96, 257, 336)]
    assert segmenter.asked[0][1] == (Click(96, 192, positive=False), Click(256, 144))


def test_a_click_that_slips_over_the_edge_is_meant_at_the_edge(send, segmenter):
    send("predict", point(100.2, 50), point(500, 50, positive=False))
    assert segmenter.asked[0][1] == (Click(640, 240),)


@pytest.mark.parametrize("items", [[], [point(25, 50, positive=False)], [{"type": "ellipselabels", "value": {}}]])
def test_no_prompt_has_an_empty_result(send, segmenter, items):
    assert send("predict", *items)["result"] == []
    assert segmenter.asked == []


def test_an_empty_mask_is_an_empty_result(send, segmenter):
    segmenter.radius_pixels = 0
    assert send("predict", point(25, 50))["result"] == []


@pytest.mark.parametrize(
    ("data", "config", "names"),
    [
        # What the Image of that name shows.
        ({"other": "no", "picture": ...}, CONFIG, {"to_name": "image"}),
        # What the data has by that name.
        ({"other": "no", "image": ...}, "", {"to_name": "image"}),
        # The configuration's image, whatever it is called.
        ({"other": "no", "picture": ...}, CONFIG, {}),
        # The first text of the data.
        ({"number": 3, "first": ..., "second": "no"}, "", {"to_name": "elsewhere"}),
        ({"number": 3, "first": ..., "second": "no"}, "no XML", {}),
    ],
)
def test_the_image_is_found_by_its_name_or_as_the_first_text(send, picture, data, config, names):
    data = {name: picture if value is ... else value for name, value in data.items()}
    assert read_mask(send("predict", point(25, 50), data=data, config=config, **names)).any()


def test_the_name_of_an_item_goes_before_that_of_the_context(send, picture):
    item = {**point(25, 50), "to_name": "second", "from_name": "mine"}
    data = {"first": "no", "second": picture}
    (found,) = send("predict", item, data=data, config="", to_name="first")["result"]
    assert (found["from_name"], found["to_name"]) == ("mine", "second")


def test_prewarm_prepares_in_the_background_and_then_tells_that_it_is_cached(client, send, segmenter):
    inside, go_on = threading.Event(), threading.Event()

    def wait(picture):
        inside.set()
        assert go_on.wait(LONGEST_SECONDS)

    segmenter.before_prepare = wait
    (item,) = send("prewarm", to_name="image")["result"]
    assert (item["type"], item["origin"], item["to_name"]) == ("prewarm_ack", "manual", "image")
    assert item["value"] == {"status": "ok", "cached": [], "pending": [0]}
    assert inside.wait(LONGEST_SECONDS)
    go_on.set()
    client.application.extensions["preparation"].close()
    assert send("prewarm")["result"][0]["value"] == {"status": "ok", "cached": [0], "pending": []}
    assert len(segmenter.prepared) == 1
    send("predict", point(25, 50))
    assert len(segmenter.prepared) == 1, "the click finds it ready"


def test_release_frees_the_picture_and_what_waits_for_preparation(client, send, picture):
    send("predict", point(25, 50))
    assert read_metric(client, "m2n2_images_kept ") > 0
    (item,) = send("release")["result"]
    assert (item["type"], item["value"]) == ("release_ack", {"status": "released"})
    assert read_metric(client, "m2n2_images_kept ") == 0
    assert read_mask(send("predict", point(25, 50))).any(), "it is fetched anew"


def test_what_is_released_is_not_told_as_cached_any_more(client, send):
    send("prewarm")
    client.application.extensions["preparation"].close()
    send("release")
    assert send("prewarm")["result"][0]["value"]["cached"] == []


def read_metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("event", ["track", "track_progress", "track_cancel", "surprise"])
def test_events_of_videos_and_unknown_ones_are_named(client, picture, event):
    body = {"tasks": [{"id": 7, "data": {"picture": picture}}], "params": {"context": {"event": event}}}
    response = client.post("/predict", json=body)
    assert (response.status_code, response.json["error"]["type"]) == (400, "InvalidRequest")
    assert f"the event '{event}' is not known here" in response.json["error"]["message"]
    assert "capabilities, prewarm, predict, release" in response.json["error"]["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.update(tasks=[]), "needs one task"),
        (lambda body: body["tasks"][0].update(data={"number": 3}), "no image"),
        (lambda body: body["params"]["context"].update(result=[point("left", 5)]), "value.x"),
        (lambda body: body["params"]["context"].update(result=[point(700, 5)]), "outside of the image"),
        (lambda body: body["params"]["context"].update(result=[point(5, 5)] * 201), "200 items"),
    ],
)
def test_what_does_not_follow_the_protocol_is_named(client, picture, change, message):
    context = {"event": "predict", "result": [point(25, 50)]}
    body = {"tasks": [{"id": 7, "data": {"picture": picture}}], "params": {"context": context}}
    change(body)
    response = client.post("/predict", json=body)
    assert response.status_code == 400
    assert message in response.json["error"]["message"]


def test_an_event_that_is_no_text_is_refused(client):
    response = client.post("/predict", json={"params": {"context": {"event": 3}}})
    assert response.status_code == 400


def test_of_the_events_only_predict_counts_as_a_click(client, send):
    for event in ("capabilities", "prewarm", "release"):
        send(event)
    send("predict", point(50, 50))
    send("predict")
    counted = {
        outcome: read_metric(client, f'm2n2_clicks_total{{outcome="{outcome}",platform="label_studio"}}')
        for outcome in ("mask", "empty", "refused", "failed")
    }
    assert counted == {"mask": 1, "empty": 1, "refused": 0, "failed": 0}
