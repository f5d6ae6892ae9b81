"""deploy/openapi.yaml and the application name the same endpoints, methods and fields."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from backend.app import create_app
from backend.label_studio_payload import (
    KeyPoint,
    KeyPointValue,
    PredictRequest,
    Rectangle,
    RectangleValue,
    SetupRequest,
    Task,
)
from backend.settings import load_settings

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "openapi.yaml").read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_every_endpoint_and_method_is_described_and_no_other(segmenter):
    rules = create_app(load_settings({}), segmenter).url_map.iter_rules()
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
    ],
)
def test_every_field_that_is_read_is_described(schema, model):
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    assert set(fields) <= set(schema["properties"])
    required = {name for name, field in fields.items() if field.is_required()}
    # The type of a region is read before its fields are.
    assert set(schema.get("required", ())) - {"type"} == required


def test_only_the_webhook_is_open():
    is_open = {
        path for path, methods in DOCUMENT["paths"].items() for one in methods.values() if one.get("security") == []
    }
    assert is_open == {"/webhook"}
