"""deploy/openapi.yaml and the application name the same endpoints, methods and fields, in answers too."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import schemathesis
import yaml
from schemathesis.core.failures import Failure

from backend.app import create_app
from backend.cvat.payload import ExampleFrame, ExampleMask, InvocationRequest, ProposeRequest
from backend.errors import ImageRefused, ImageUnavailable
from backend.label_studio.events.payload import BoxItem, BoxValue, PointItem, PointValue
from backend.label_studio.payload import (
    Context,
    KeyPoint,
    KeyPointValue,
    PredictRequest,
    Rectangle,
    RectangleValue,
    SetupRequest,
    Task,
)
from backend.playground.payload import Mark, PrepareRequest, SegmentRequest
from backend.settings import load_settings
from m2n2_engine.errors import M2N2Error, OutOfMemory

FILE = Path(__file__).parents[2] / "deploy" / "openapi.yaml"
DESCRIBED = schemathesis.openapi.from_path(FILE)
DOCUMENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
CVAT_PATHS = ["/cvat/", "/cvat/api/function_invocations"]
WITH_PAGE = {"M2N2_PLAYGROUND": "on"}
CVAT_HEADERS = {"x-nuclio-function-name": "m2n2"}


def test_every_endpoint_and_method_is_described_and_no_other(segmenter):
    rules = create_app(load_settings(WITH_PAGE), segmenter).url_map.iter_rules()
    served = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == served


@pytest.mark.parametrize(
    ("schema", "model"),
    [
        (SCHEMAS["SetupRequest"], SetupRequest),
        (SCHEMAS["PredictRequest"], PredictRequest),
        (SCHEMAS["Task"], Task),
        (SCHEMAS["KeyPoint"], KeyPoint),
        (SCHEMAS["KeyPoint"]["properties"]["value"], KeyPointValue),
        (SCHEMAS["Rectangle"], Rectangle),
        (SCHEMAS["Rectangle"]["properties"]["value"], RectangleValue),
        (SCHEMAS["PredictRequest"]["properties"]["params"]["properties"]["context"], Context),
        (SCHEMAS["PointItem"], PointItem),
        (SCHEMAS["PointItem"]["properties"]["value"], PointValue),
        (SCHEMAS["BoxItem"], BoxItem),
        (SCHEMAS["BoxItem"]["properties"]["value"], BoxValue),
        (SCHEMAS["InvocationRequest"], InvocationRequest),
        (SCHEMAS["ProposeRequest"], ProposeRequest),
        (SCHEMAS["ExampleFrame"], ExampleFrame),
        (SCHEMAS["ExampleMask"], ExampleMask),
        (SCHEMAS["PrepareRequest"], PrepareRequest),
        (SCHEMAS["SegmentRequest"], SegmentRequest),
        (SCHEMAS["Mark"], Mark),
    ],
)
def test_every_field_that_is_read_is_described(schema, model):
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    assert set(fields) <= set(schema["properties"])
    required = {name for name, field in fields.items() if field.is_required()}
    # The type of a region is read before its fields are.
    assert set(schema.get("required", ())) - {"type"} == required - {"type"}


def test_only_the_webhook_is_open():
    is_open = {
        path for path, methods in DOCUMENT["paths"].items() for one in methods.values() if one.get("security") == []
    }
    assert is_open == {"/webhook"}


@pytest.fixture
def follow(make_client):
    """Asks an application with these settings and holds its answer to the document."""

    def ask(method, path, environ=None, **options):
        response = make_client({**WITH_PAGE, **(environ or {})}).open(path, method=method, **options)
        DESCRIBED[path][method].validate_response(response)
        assert str(response.status_code) in DOCUMENT["paths"][path][method.lower()]["responses"]
        return response

    return ask


@pytest.fixture
def click(recorded, make_png):
    """A request whose configuration takes masks of both kinds."""
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    body["label_config"] = body["label_config"].replace(
        "</View>", '<PolygonLabels name="poly" toName="image"><Label value="Cat"/></PolygonLabels></View>'
    )
    return body


@pytest.mark.parametrize(
    ("output", "types"),
    [("brush", ["brushlabels"]), ("polygon", ["polygonlabels"]), ("both", ["brushlabels", "polygonlabels"])],
)
@pytest.mark.parametrize("page", [None, 0])
def test_regions_of_every_kind_are_as_described(follow, click, output, types, page):
    if page is not None:
        click["params"]["context"]["result"][0]["item_index"] = page
    response = follow("POST", "/predict", {"M2N2_OUTPUT": output}, json=click)
    regions = response.json["results"][0]["result"]
    assert [region["type"] for region in regions] == types
    assert [region.get("item_index") for region in regions] == [page] * len(types)


def test_a_bitmask_is_as_described(follow, click):
    click["label_config"] = click["label_config"].replace("BrushLabels", "BitmaskLabels")
    (region,) = follow("POST", "/predict", json=click).json["results"][0]["result"]
    assert region["type"] == "bitmasklabels"


@pytest.mark.parametrize("output", ["brush", "polygon"])
def test_a_region_with_a_field_that_is_not_described_is_told(follow, click, output):
    """The document says all that a region has: else the test above would take anything."""

    answer = follow("POST", "/predict", {"M2N2_OUTPUT": output}, json=click)
    body = answer.json
    body["results"][0]["result"][0]["surprise"] = 1
    answer.set_data(json.dumps(body))
    with pytest.raises(Failure, match="surprise"):
        DESCRIBED["/predict"]["POST"].validate_response(answer)


@pytest.mark.parametrize("event", ["capabilities", "prewarm", "predict", "release"])
def test_answers_to_events_are_as_described(follow, click, event):
    item = {"type": "keypointlabels", "value": {"x": 25, "y": 50}}
    click["params"]["context"] = {"event": event, "result": [item]}
    answer = follow("POST", "/predict", json=click)
    (prediction,) = answer.json["results"]
    assert len(prediction["result"]) == 1
    body = answer.json
    body["results"][0]["result"][0]["value"]["surprise"] = 1
    answer.set_data(json.dumps(body))
    with pytest.raises(Failure, match="surprise"):
        DESCRIBED["/predict"]["POST"].validate_response(answer)


@pytest.mark.parametrize(
    ("method", "path"), [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
)
def test_every_endpoint_answers_as_described(follow, recorded, method, path):
    bodies = {"/setup": "setup_request", "/webhook": "webhook_ANNOTATION_CREATED", "/predict": "predict_batch_2_tasks"}
    options = {"json": recorded(bodies[path])} if path in bodies else {}
    follow(method, path, **options)
    if path != "/webhook":
        wanting = {"M2N2_BASIC_AUTH_USER": "user", "M2N2_BASIC_AUTH_PASSWORD": "password"}
        assert follow(method, path, wanting, **options).status_code == 401


@pytest.fixture
def cvat_click(make_png):
    """A request of CVAT's as the options of a call."""
    body = {"image": base64.b64encode(make_png(64, 48)).decode(), "pos_points": [[30, 20]]}
    return {"json": body, "headers": CVAT_HEADERS}


@pytest.mark.parametrize("answer", ["mask", "shapes"])
@pytest.mark.parametrize("path", CVAT_PATHS)
def test_masks_for_cvat_are_as_described(follow, cvat_click, path, answer):
    assert list(follow("POST", path, {"M2N2_CVAT_ANSWER": answer}, **cvat_click).json) == [answer]


@pytest.mark.parametrize("polygons", [False, True])
def test_proposals_for_cvat_are_as_described(follow, make_png, polygons):
    image = base64.b64encode(make_png(64, 48)).decode()
    examples = [{"image": image, "masks": [{"label": "cat", "points": [0, 200, 5, 5, 24, 14]}]}]
    body = {"image": image, "examples": examples, "polygons": polygons}
    (shape,) = follow("POST", "/cvat/propose", json=body).json["shapes"]
    assert (shape["type"], shape["label"], shape["confidence"]) == ("polygon" if polygons else "mask", "cat", 0.9)
    if not polygons:
        assert shape["points"] == [0, 200, 5, 5, 24, 14]


@pytest.mark.parametrize(
    ("examples", "status"), [([], 400), ([{"image": "", "masks": [{"label": "cat", "points": [1] * 5}]}], 400)]
)
def test_proposals_for_cvat_that_cannot_be_made_are_refused_as_described(follow, make_png, examples, status):
    body = {"image": base64.b64encode(make_png(64, 48)).decode(), "examples": examples}
    assert follow("POST", "/cvat/propose", json=body).status_code == status


def test_the_function_for_cvat_is_as_described(follow, make_client):
    assert list(follow("GET", "/cvat/api/functions").json) == ["m2n2"]
    DESCRIBED["/cvat/api/functions/{function_id}"]["GET"].validate_response(
        make_client().get("/cvat/api/functions/m2n2")
    )


@pytest.mark.parametrize("path", ["/setup", "/predict", *CVAT_PATHS])
@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (bytes(2**20 + 1), 413)])
def test_errors_are_as_described(follow, path, body, status):
    response = follow("POST", path, {"M2N2_MAX_BODY_MIB": "1"}, data=body, headers=CVAT_HEADERS)
    assert response.status_code == status


@pytest.mark.parametrize(
    ("error", "status"), [(ImageRefused, 403), (ImageUnavailable, 424), (M2N2Error, 500), (OutOfMemory, 503)]
)
def test_errors_of_a_prediction_are_as_described(follow, segmenter, click, error, status):
    segmenter.error = error("what was wrong: the remedy")
    assert follow("POST", "/predict", json=click).status_code == status


@pytest.mark.parametrize(("error", "status"), [(M2N2Error, 500), (OutOfMemory, 503)])
@pytest.mark.parametrize("path", CVAT_PATHS)
def test_errors_of_a_mask_for_cvat_are_as_described(follow, segmenter, cvat_click, path, error, status):
    segmenter.error = error("what was wrong: the remedy")
    assert follow("POST", path, **cvat_click).status_code == status
