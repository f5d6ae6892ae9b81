"""CVAT's protocol, driven as CVAT drives a nuclio dashboard: the function, then the frame and what was set in it."""

from __future__ import annotations

import base64
import gzip
import io
import logging

import numpy as np
import pytest
from cvat_sdk.masks import decode_mask
from PIL import Image as PillowImage

from backend.app import create_app
from backend.settings import load_settings
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import Box, Click, EngineStatus, State

HEADERS = {
    "x-nuclio-project-name": "cvat",
    "x-nuclio-function-namespace": "nuclio",
    "x-nuclio-invoke-via": "domain-name",
    "X-Nuclio-Invoke-Timeout": "120s",
}
WIDTH, HEIGHT = 64, 48


@pytest.fixture
def body(make_png):
    return make_body(make_png(WIDTH, HEIGHT))


def make_body(file, **prompts):
    image = base64.b64encode(file).decode()
    return {"image": image, "pos_points": [[30.5, 20.25]], "neg_points": [], "obj_bbox": [], **prompts}


def invoke(client, body, **headers):
    """CVAT's invoke method "dashboard"."""
    headers = {**HEADERS, "x-nuclio-function-name": "m2n2", "x-nuclio-path": "/", **headers}
    return client.post("/cvat/api/function_invocations", json=body, headers=headers)


def read_mask(response):
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    return np.array(response.json["mask"])


def disc(x, y, radius=40.0, shape=(HEIGHT, WIDTH)):
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    return (xs - x) ** 2 + (ys - y) ** 2 < radius**2


def test_the_list_is_an_object_of_functions_by_name(client):
    functions = client.get("/cvat/api/functions", headers=HEADERS).json
    assert list(functions) == ["m2n2"]
    assert client.get("/cvat/api/functions/m2n2", headers=HEADERS).json == functions["m2n2"]


def test_the_function_has_all_that_cvat_reads(client):
    function = client.get("/cvat/api/functions/m2n2").json
    annotations = function["metadata"]["annotations"]
    assert function["metadata"]["name"] == "m2n2"
    assert function["spec"]["description"]
    assert function["status"] == {"state": "ready", "httpPort": 9090}
    assert (annotations["type"], annotations["version"], annotations["spec"]) == ("interactor", "2", "")
    assert (int(annotations["min_pos_points"]), int(annotations["min_neg_points"])) == (0, 0)
    assert annotations["startswith_box_optional"] == "true"
    assert "startswith_box" not in annotations
    assert {"name", "help_message", "animated_gif"} <= set(annotations)
    assert all(isinstance(value, str) for value in annotations.values())


@pytest.mark.parametrize(("state", "told"), [("loading", "building"), ("ready", "ready"), ("failed", "error")])
def test_the_function_is_described_whatever_the_model_does(client, segmenter, state, told):
    segmenter.told = EngineStatus("m2n2", State(state))
    assert client.get("/cvat/api/functions/m2n2").json["status"]["state"] == told


def test_direct_requests_are_sent_to_cvat_s_port(make_client):
    client = make_client({"M2N2_CVAT_PORT": "8070"})
    assert client.get("/cvat/api/functions/m2n2").json["status"]["httpPort"] == 8070


def test_a_click_has_the_mask_of_the_whole_frame(client, body, segmenter):
    segmenter.radius_pixels = 10
    np.testing.assert_array_equal(read_mask(invoke(client, body)), disc(30.5, 20.25, 10))
    assert segmenter.asked == [((HEIGHT, WIDTH, 3), (Click(30.5, 20.25),))]
    assert segmenter.boxes == [None]
    assert segmenter.prepared == [(HEIGHT, WIDTH, 3)]


def test_positive_and_negative_points_and_a_box(client, make_png, segmenter):
    prompts = {"pos_points": [[1, 2], [3.5, 4]], "neg_points": [[5, 6]], "obj_bbox": [[40.5, 9], [10, 30]]}
    read_mask(invoke(client, make_body(make_png(WIDTH, HEIGHT), threshold=0.5, **prompts)))
    ((_, clicks),) = segmenter.asked
    assert clicks == (Click(1, 2), Click(3.5, 4), Click(5, 6, False))
    assert segmenter.boxes == [Box(10, 9, 40.5, 30)]


def test_a_click_that_slips_over_the_edge_is_meant_at_the_edge(client, make_png, segmenter):
    read_mask(
        invoke(client, make_body(make_png(WIDTH, HEIGHT), pos_points=[[1, 2], [65.5, -3]], neg_points=[[9, 900]]))
    )
    ((_, clicks),) = segmenter.asked
    assert clicks == (Click(1, 2), Click(64, 0))


def test_a_positive_click_far_outside_is_named(client, make_png):
    response = invoke(client, make_body(make_png(WIDTH, HEIGHT), pos_points=[[1, 2], [640, 5]]))
    assert response.status_code == 400
    assert "(640, 5) lies outside of the image of 64 x 48 pixels" in response.json["error"]["message"]


def test_clicks_reach_the_engine_in_the_order_in_which_they_were_made(client, make_png, segmenter):
    first, correction, second = [1, 2], [5, 6], [3, 4]
    file = make_png(WIDTH, HEIGHT)
    for positive, negative in (([first], []), ([first], [correction]), ([first, second], [correction])):
        read_mask(invoke(client, make_body(file, pos_points=positive, neg_points=negative)))
    _, clicks = segmenter.asked[-1]
    assert clicks == (Click(1, 2), Click(5, 6, False), Click(3, 4))
    # Another frame, other clicks, whatever their coordinates.
    file = make_png(WIDTH, HEIGHT + 1)
    read_mask(invoke(client, make_body(file, pos_points=[first, second], neg_points=[correction])))
    _, clicks = segmenter.asked[-1]
    assert clicks == (Click(1, 2), Click(3, 4), Click(5, 6, False))


def test_a_box_alone_may_reach_over_the_border(client, make_png, segmenter):
    prompts = {"pos_points": [], "obj_bbox": [[-5, 10], [20, 1000]]}
    mask = read_mask(invoke(client, make_body(make_png(WIDTH, HEIGHT), **prompts)))
    assert segmenter.boxes == [Box(0, 10, 20, HEIGHT)]
    assert mask[10:, :20].all()
    assert mask.sum() == (HEIGHT - 10) * 20


def test_nothing_found_is_a_mask_of_zeros(client, body, segmenter):
    segmenter.radius_pixels = 0
    mask = read_mask(invoke(client, body))
    assert mask.shape == (HEIGHT, WIDTH)
    assert not mask.any()


@pytest.mark.parametrize("radius", [10, 0])
@pytest.mark.parametrize(("environ", "asked"), [({"M2N2_CVAT_ANSWER": "shapes"}, {}), ({}, {"answer": "shapes"})])
def test_shapes_where_they_are_asked_for(make_client, body, segmenter, environ, asked, radius):
    segmenter.radius_pixels = radius
    response = invoke(make_client(environ), {**body, **asked})
    (shape,) = response.json.pop("shapes")
    assert shape.pop("type") == "mask"
    mask = decode_mask(shape.pop("points"), image_width=WIDTH, image_height=HEIGHT)
    np.testing.assert_array_equal(mask, disc(30.5, 20.25, radius))
    # The score of the disc is 0.75.
    assert shape.pop("attributes") == [{"spec_id": 0, "value": "0.8750" if radius else "0.0000"}]
    assert shape == {}


@pytest.mark.parametrize("box", [[], None, [[-9, -9], [-5, -5]], [[10, 10], [10, 30]]])
def test_nothing_at_all_and_a_box_of_no_area_are_a_mask_of_zeros(client, body, segmenter, box):
    """CVAT's page asks so where the last point was taken back, or where the mouse did not move."""
    mask = read_mask(invoke(client, {**body, "pos_points": [], "obj_bbox": box}))
    assert mask.shape == (HEIGHT, WIDTH)
    assert not mask.any()
    assert segmenter.asked == []


def test_a_box_of_no_area_does_not_keep_points_from_being_answered(client, body, segmenter):
    segmenter.radius_pixels = 10
    found = read_mask(invoke(client, {**body, "obj_bbox": [[10, 10], [10, 30]]}))
    np.testing.assert_array_equal(found, disc(30.5, 20.25, 10))


def test_a_frame_is_turned_by_whatever_its_file_says(client, segmenter):
    """CVAT's server opens frames with Pillow, and sends the file as it was uploaded."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    PillowImage.new("RGB", (WIDTH, HEIGHT)).save(file, "WEBP", exif=exif)
    assert read_mask(invoke(client, make_body(file.getvalue()))).shape == (WIDTH, HEIGHT)
    # The same bytes are another picture in Label Studio, whose page turns no WebP.
    assert segmenter.prepared == [(WIDTH, HEIGHT, 3)]


def test_gzip_for_those_who_take_it(client, body):
    plain = invoke(client, body)
    assert "Content-Encoding" not in plain.headers
    packed = invoke(client, body, **{"Accept-Encoding": "gzip, deflate"})
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert len(packed.data) < len(plain.data)
    assert gzip.decompress(packed.data) == plain.data
    assert "Content-Encoding" not in invoke(client, body, **{"Accept-Encoding": "gzip;q=0, br"}).headers


def test_the_direct_method_and_the_own_port_answer_the_same(segmenter, body):
    client = create_app(load_settings({"M2N2_CVAT_PORT": "8070"}), segmenter).test_client()
    own = {"base_url": "http://m2n2:8070"}
    expected = invoke(client, body).json
    assert client.post("/cvat/", json=body).json == expected
    assert client.post("/", json=body, **own).json == expected
    headers = {"x-nuclio-function-name": "m2n2"}
    assert client.post("/api/function_invocations", json=body, headers=headers, **own).json == expected
    assert list(client.get("/api/functions", **own).json) == ["m2n2"]
    assert client.get("/health", **own).status_code == 404
    assert client.get("/api/functions").status_code == 404


@pytest.mark.parametrize("name", ["", "sam", "m2n2/../x"])
def test_another_function_is_not_found(client, body, name):
    assert invoke(client, body, **{"x-nuclio-function-name": name}).status_code == 404
    assert client.get("/cvat/api/functions/sam").status_code == 404


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"image": "aGVsbG8="}, "these 5 bytes are no image file"),
        ({"image": ""}, "the image file is empty"),
        ({"image": "!!!"}, "damaged"),
        ({"image": None}, "image: Input should be a valid string"),
        ({"pos_points": [[1]]}, "pos_points.0.1: Field required"),
        ({"pos_points": [[1, 2]] * 201}, "pos_points: Tuple should have at most 200 items"),
        ({"obj_bbox": [[1, 2]]}, "obj_bbox: Value error, should be [] or two corners"),
        ({"answer": "polygons"}, "answer: Input should be 'mask' or 'shapes'"),
    ],
)
def test_what_cannot_be_answered_is_told_where_cvat_s_user_sees_it_and_in_the_log(client, body, caplog, changed, told):
    response = invoke(client, {**body, **changed})
    message = response.json["error"]["message"]
    assert told in message
    assert response.status == f"400 {message}"
    (record,) = [record for record in caplog.records if record.name == "backend.app"]
    assert response.json["error"]["request_id"] in record.getMessage()
    assert message in record.getMessage()


def test_an_image_too_large_is_refused_before_it_is_decoded(make_client, make_png):
    client = make_client({"M2N2_MAX_IMAGE_MEGAPIXELS": "1"})
    response = invoke(client, make_body(make_png(1001, 1000)))
    assert response.status_code == 400
    assert "raise M2N2_MAX_IMAGE_MEGAPIXELS" in response.status


def test_a_body_too_large_is_413_and_names_the_setting(make_client, caplog):
    response = invoke(make_client({"M2N2_MAX_BODY_MIB": "1"}), make_body(bytes(2**20)))
    assert response.status == "413 the body is larger than this server takes: raise M2N2_MAX_BODY_MIB"
    assert "raise M2N2_MAX_BODY_MIB" in caplog.text


def test_a_status_line_is_one_line_of_ascii(client, body, segmenter):
    segmenter.error = OutOfMemory("für dieses Bild\r\nX-Evil: 1 " + "ist kein Platz " * 50)
    response = invoke(client, body)
    assert response.status.startswith("503 f r dieses Bild X-Evil: 1 ist kein Platz")
    assert len(response.status) < 310
    assert response.headers["Retry-After"]


def test_credentials_are_asked_for(make_client, body):
    client = make_client(
        {"M2N2_BASIC_AUTH_USER": "cvat", "M2N2_BASIC_AUTH_PASSWORD": "secret", "M2N2_CVAT_PORT": "8070"}
    )
    assert invoke(client, body).status_code == 401
    assert client.post("/webhook", json={}, base_url="http://m2n2:8070").status_code == 401
    assert client.get("/api/functions", base_url="http://cvat:secret@m2n2:8070", auth=("cvat", "secret")).json


def test_stages_and_requests_are_counted(client, body):
    response = invoke(client, body)
    for stage in ("fetch", "wait", "attention", "clicks", "encode"):
        assert f"{stage};dur=" in response.headers["Server-Timing"]
    metrics = client.get("/metrics").text
    assert 'm2n2_requests_total{path="/cvat/api/function_invocations",status="200"} 1.0' in metrics


def test_a_frame_is_decoded_once_for_several_clicks(client, body):
    for x in (1, 2, 3):
        assert invoke(client, {**body, "pos_points": [[x, 1]]}).status_code == 200
    metrics = client.get("/metrics").text
    assert "m2n2_images_misses_total 1.0" in metrics
    assert "m2n2_images_hits_total 2.0" in metrics


def test_the_log_holds_nothing_of_the_frame(client, body, caplog):
    with caplog.at_level(logging.DEBUG):
        invoke(client, body)
        invoke(client, {**body, "image": body["image"][:40]})
    assert body["image"][:20] not in caplog.text


def test_the_same_picture_in_both_platforms_is_prepared_once(client, recorded, segmenter):
    """CVAT may keep a frame in another file format than Label Studio: the pixels count."""
    pixels = PillowImage.fromarray(np.random.default_rng(5).integers(0, 256, (480, 640, 3), np.uint8))
    files = {}
    for name in ("PNG", "BMP"):
        files[name] = io.BytesIO()
        pixels.save(files[name], name)
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(files["PNG"].getvalue()).decode()
    assert client.post("/predict", json=body).json["results"][0]["result"]
    for x in (100, 200):
        read_mask(invoke(client, make_body(files["BMP"].getvalue(), pos_points=[[x, 90]])))
    assert len(segmenter.prepared) == 1
    assert len(segmenter.asked) == 3
