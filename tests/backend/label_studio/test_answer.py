"""Masks as regions: kinds, ids, sizes; and what of them arrives in COCO."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from backend.images.cache import TaskImage
from backend.label_studio.answer import render_regions, resize_mask
from backend.label_studio.brush_rle import decode, encode
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payload import DraftRegion, KeyPoint
from backend.label_studio.prompt import Prompt
from backend.settings import load_settings

CONFIG = parse_label_config("""<View><Image name="image" value="$image"/>
    <BrushLabels name="brush" toName="image"><Label value="Cat"/></BrushLabels>
    <PolygonLabels name="poly" toName="image"><Label value="Cat"/></PolygonLabels></View>""")
SHAPE = (48, 64)


@pytest.fixture
def mask():
    """A disc of radius 20 with a hole of radius 8, and a square beside it."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    squared = (x - 24) ** 2 + (y - 24) ** 2
    found = (squared < 20**2) & (squared >= 8**2)
    found[30:46, 50:62] = True
    return found


def make_prompt(*drafted, controls=CONFIG.controls, **point):
    value = {"x": 75, "y": 50, "keypointlabels": ["Cat"]}
    key_point = KeyPoint.model_validate({"value": value, "to_name": "image", "id": "p", **point})
    return Prompt(None, key_point, (key_point,), controls, TaskImage("a.png"), drafted)


def render(mask, prompt, **environ):
    return render_regions(prompt, mask, 0.5, load_settings(environ))


@pytest.mark.parametrize(
    ("output", "types"),
    [
        ("brush", ["brushlabels"]),
        ("polygon", ["polygonlabels", "polygonlabels"]),
        ("both", ["brushlabels", "polygonlabels", "polygonlabels"]),
    ],
)
def test_the_wanted_kinds_are_rendered_one_polygon_a_piece(mask, output, types):
    regions = render(mask, make_prompt(), M2N2_OUTPUT=output)
    assert [region["type"] for region in regions] == types
    assert {region["from_name"] for region in regions} == {
        {"brushlabels": "brush", "polygonlabels": "poly"}[kind] for kind in types
    }
    assert len({region["id"] for region in regions}) == len(regions)
    for region in regions:
        assert region["value"][region["type"]] == ["Cat"]
        assert (region["original_width"], region["original_height"], region["score"]) == (64, 48, 0.5)


@pytest.mark.parametrize("output", ["brush", "polygon", "both"])
@pytest.mark.parametrize("kind", ["brushlabels", "polygonlabels"])
def test_a_kind_without_a_place_is_replaced_by_the_other(mask, output, kind):
    controls = tuple(control for control in CONFIG.controls if control.tag.lower() == kind)
    regions = render(mask, make_prompt(controls=controls), M2N2_OUTPUT=output)
    assert {region["type"] for region in regions} == {kind}


def test_the_polygons_of_a_mask_have_as_many_vertices_as_the_setting_allows(mask):
    for most, pieces in (("0", 2), ("15", 2), ("5", 1)):
        regions = render(mask, make_prompt(), M2N2_OUTPUT="polygon", M2N2_POLYGON_VERTICES=most)
        assert len(regions) == pieces
        vertices = sum(len(region["value"]["points"]) for region in regions)
        assert vertices <= int(most) if most != "0" else vertices > 20


def test_an_empty_mask_has_no_regions(mask):
    assert render(np.zeros_like(mask), make_prompt(), M2N2_OUTPUT="both") == []


def test_in_coco_polygons_are_the_mask(mask):
    """As Label Studio exports them: percent to pixels, one segmentation for the regions of an object."""
    regions = render(mask, make_prompt(), M2N2_OUTPUT="polygon")
    segmentation = [(np.array(region["value"]["points"]) * (64 / 100, 48 / 100)).ravel().tolist() for region in regions]
    rasterised = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, *SHAPE))) > 0
    assert (rasterised & mask).sum() / (rasterised | mask).sum() > 0.93
    assert not rasterised[24, 24], "the hole is open"


def test_in_coco_a_brush_region_is_the_mask(mask):
    (region,) = render(mask, make_prompt())
    painted = decode(region["value"]["rle"], (region["original_height"], region["original_width"]))
    coco = coco_mask.encode(np.asfortranarray(painted.astype(np.uint8)))
    assert coco_mask.area(coco) == mask.sum()
    assert np.array_equal(coco_mask.decode(coco) > 0, mask)


def drafted_brush(identifier, mask, labels=("Cat",), **more):
    value = {"format": "rle", "rle": encode(mask), "brushlabels": list(labels)}
    return DraftRegion.model_validate(
        {"id": identifier, "type": "brushlabels", "from_name": "brush", "to_name": "image", "value": value, **more}
    )


@pytest.mark.parametrize(
    ("drafted", "replaced"),
    [
        ({}, "old"),
        ({"labels": ("Dog",)}, None),
        ({"to_name": "other"}, None),
        ({"from_name": "other"}, None),
        ({"item_index": 1}, None),
        ({"type": "polygonlabels"}, None),
        ({"mask": np.zeros(SHAPE, bool)}, None),
        ({"mask": np.ones((4, 4), bool)}, None),
        ({"value": {"brushlabels": ["Cat"], "rle": "no list"}}, None),
        ({"value": {"brushlabels": ["Cat"], "rle": [300]}}, None),
    ],
)
def test_on_demand_the_drafted_region_under_the_click_is_replaced(mask, drafted, replaced):
    region = drafted_brush(**{"identifier": "old", "mask": np.ones(SHAPE, bool), **drafted})
    (answer,) = render(mask, make_prompt(region), M2N2_REPLACE_DRAFT_REGION="true")
    assert (answer["id"] == "old") == (replaced == "old")
    (answer,) = render(mask, make_prompt(region))
    assert answer["id"] != "old", "off by default"


def test_of_two_drafted_regions_the_uppermost_is_replaced(mask):
    everywhere = np.ones(SHAPE, bool)
    prompt = make_prompt(drafted_brush("lower", everywhere), drafted_brush("upper", everywhere))
    (answer,) = render(mask, prompt, M2N2_REPLACE_DRAFT_REGION="true")
    assert answer["id"] == "upper"


@pytest.mark.parametrize("shape", [(8, 12), (2, 3), (5, 7), (1, 1)])
def test_resizing_takes_the_pixel_below_the_centre(shape):
    mask = np.random.default_rng(0).random((4, 6)) < 0.5
    resized = resize_mask(mask, shape)
    assert resized.shape == shape
    for row, column in np.ndindex(shape):
        source = int((row + 0.5) * 4 / shape[0]), int((column + 0.5) * 6 / shape[1])
        assert resized[row, column] == mask[source]
