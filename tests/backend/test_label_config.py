from __future__ import annotations

import pytest

from backend.label_config import parse_label_config
from m2n2_engine.errors import InvalidRequest

TWO_IMAGES = """<?xml version="1.0" encoding="utf-8"?>
<View>
  <!-- two images, two brushes -->
  <Image name="left" value="$left_url"/><Image name="right" value="$right_url"/>
  <BrushLabels name="only_left" toName="left"><Label value="Cat"/><Label value="Hund" alias="Dog"/></BrushLabels>
  <BrushLabels name="both" toName="left, right"><Label value="Cat"/><Label value="Mouse"/></BrushLabels>
</View>"""


@pytest.mark.parametrize(
    ("to_name", "label", "brush"),
    [
        ("left", "Cat", "only_left"),
        ("left", "Dog", "only_left"),
        ("left", "Hund", None),
        ("left", "Mouse", "both"),
        ("right", "Cat", "both"),
        ("right", "Dog", None),
        ("middle", "Cat", None),
    ],
)
def test_the_brush_is_found_by_image_and_label(to_name, label, brush):
    assert parse_label_config(TWO_IMAGES).find_brush(to_name, label) == brush


def test_the_data_key_is_found_by_image():
    assert parse_label_config(TWO_IMAGES).find_data_key("right") == "right_url"


@pytest.mark.parametrize(
    "xml", ["<View/>", '<View><Image name="image"/></View>', '<View><Image name="image" value="x"/></View>']
)
def test_an_image_without_a_variable_is_named(xml):
    with pytest.raises(InvalidRequest, match="needs an Image named 'image'"):
        parse_label_config(xml).find_data_key("image")


@pytest.mark.parametrize("xml", ["", "<View>", "no xml", "<View>\x00</View>", "<View>\ud800</View>"])
def test_what_is_no_xml_is_refused(xml):
    with pytest.raises(InvalidRequest, match="is no XML"):
        parse_label_config(xml)


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><View>&b;</View>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><View/>',
        "<!doctype html><View/>",
    ],
)
def test_declarations_are_refused(xml):
    with pytest.raises(InvalidRequest, match="may not hold a DOCTYPE"):
        parse_label_config(xml)
