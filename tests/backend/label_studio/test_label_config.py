from __future__ import annotations

import logging
from pathlib import Path

import pytest

from backend.errors import InvalidRequest
from backend.label_studio.configuration.problems import ProblemLog, find_lost_tools, find_problems
from backend.label_studio.label_config import parse_label_config

TWO_IMAGES = """<?xml version="1.0" encoding="utf-8"?>
<View>
  <!-- two images, two brushes -->
  <Image name="left" value="$left_url"/><Image name="right" valueList="$right_pages"/>
  <BrushLabels name="only_left" toName="left"><Label value="Cat"/><Label value="Hund" alias="Dog"/></BrushLabels>
  <BrushLabels name="both" toName="left, right"><View><Label value="Cat"/></View><Label value="Mouse"/></BrushLabels>
  <PolygonLabels name="any" toName="right" value="$labels"/>
</View>"""

IMAGE = '<Image name="image" value="$image"/>'
POINTS = '<KeyPointLabels name="kp" toName="image"><Label value="Cat"/></KeyPointLabels>'
DULL_POINTS = '<KeyPointLabels name="kp" toName="image" smart="false"><Label value="Cat"/></KeyPointLabels>'
BRUSH = '<BrushLabels name="brush" toName="image"><Label value="Cat"/></BrushLabels>'


@pytest.mark.parametrize(
    ("tag", "to_name", "label", "name"),
    [
        ("BrushLabels", "left", "Cat", "only_left"),
        ("BrushLabels", "left", "Dog", "only_left"),
        ("BrushLabels", "left", "Hund", None),
        ("BrushLabels", "left", "Mouse", "both"),
        ("BrushLabels", "right", "Cat", "both"),
        ("BrushLabels", "right", "Dog", None),
        ("BrushLabels", "middle", "Cat", None),
        ("PolygonLabels", "right", "whatever the task says", "any"),
        ("PolygonLabels", "left", "Cat", None),
    ],
)
def test_where_an_answer_goes_is_found_by_tag_image_and_label(tag, to_name, label, name):
    control = parse_label_config(TWO_IMAGES).find_answer_control(tag, to_name, label)
    assert (control.name if control else None) == name


def test_the_field_of_an_image_is_found_by_its_name():
    config = parse_label_config(TWO_IMAGES)
    assert (config.find_image("left").value, config.find_image("left").is_list) == ("$left_url", False)
    assert (config.find_image("right").value, config.find_image("right").is_list) == ("$right_pages", True)


@pytest.mark.parametrize(
    ("attributes", "smart"),
    [
        ("", True),
        ('smart="true"', True),
        ('smart="false"', False),
        ('smartOnly="true"', True),
        ('smart="false" smartOnly="true"', True),
        ('smart="False" smartOnly="false"', False),
    ],
)
def test_tools_are_smart_unless_told_not_to_be(attributes, smart):
    config = parse_label_config(f'<View>{IMAGE}<KeyPointLabels name="kp" toName="image" {attributes}/></View>')
    assert config.controls[0].is_smart == smart


@pytest.mark.parametrize(
    "xml", ["<View/>", '<View><Image name="image"/></View>', '<View><Image name="image" value="x"/></View>']
)
def test_an_image_without_a_variable_is_named(xml):
    with pytest.raises(InvalidRequest, match="needs an Image named 'image'"):
        parse_label_config(xml).find_image("image")


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


def test_configurations_that_work_have_no_problems(recorded):
    deployed = Path(__file__).parents[3] / "deploy" / "labeling_config.xml"
    assert find_problems(deployed.read_text()) == []
    assert find_problems(recorded("setup_request")["schema"]) == []
    assert find_problems(f"<View>{IMAGE}{POINTS}{BRUSH.replace('Brush', 'Polygon')}</View>") == []
    assert find_problems(f"<View>{IMAGE}{POINTS.replace('KeyPoint', 'Rectangle')}{BRUSH}</View>") == []


@pytest.mark.parametrize(
    ("xml", "problem"),
    [
        ("<View>", "is no XML"),
        (f"<View>{POINTS}{BRUSH}</View>", "has no Image"),
        (f'<View><Image name="image" value="image"/>{POINTS}{BRUSH}</View>', "Image 'image' shows no field"),
        (f'<View>{IMAGE}<Image value="$b"/>{POINTS}{BRUSH}</View>', "an Image has no name"),
        (f"<View>{IMAGE}{BRUSH}</View>", "no tool to click with: add KeyPointLabels"),
        (
            f"<View>{IMAGE}{DULL_POINTS}{BRUSH}</View>",
            "no tool is smart, so that clicks never get here: set smart=\"true\" on KeyPointLabels 'kp'",
        ),
        (f"<View>{IMAGE}{POINTS}</View>", "no BrushLabels (or BitmaskLabels, or PolygonLabels) has 'Cat'; add"),
        (f"<View>{IMAGE}{POINTS}</View>", 'add <Label value="Cat"/> to one'),
        (f"<View>{IMAGE}{POINTS}{BRUSH.replace('Cat', 'Dog')}</View>", "KeyPointLabels 'kp' have no place to go"),
        (f"<View>{IMAGE}{POINTS}{BRUSH.replace('image', 'img')}</View>", "belongs to 'img', which is no Image here"),
        (f"<View>{IMAGE}{POINTS}{BRUSH.replace('toName', 'to')}</View>", "BrushLabels 'brush' belongs to ''"),
        (f"<View>{IMAGE}{POINTS}{BRUSH}<KeyPointLabels name='b' toName='image'/></View>", "'b' has no labels"),
        (f"<View>{IMAGE}{POINTS.replace('name=', 'title=')}{BRUSH}</View>", "a KeyPointLabels tag has no name"),
    ],
)
def test_every_reason_not_to_work_is_named(xml, problem):
    assert any(problem in found for found in find_problems(xml)), find_problems(xml)


def test_all_problems_are_named_at_once():
    assert len(find_problems("<View><KeyPointLabels smart='false'/></View>")) == 5


def test_each_configuration_is_reported_once(caplog):
    log = ProblemLog()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.report("<View>")
            log.report("<Vue>")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "cannot work" in caplog.text


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<a>" * 65 + "</a>" * 65, "its tags are more than 64 deep"),
        ("<View>" + "<a/>" * 40_000 + "</View>", "too large"),
        ("<View>" + " " * 2**20 + "</View>", "too large"),
        (
            "<View><BrushLabels toName='" + ",".join(map(str, range(21))) + "'/></View>",
            "belongs to more than 20 images",
        ),
    ],
)
def test_a_configuration_that_would_hold_others_up_is_refused(xml, reason):
    with pytest.raises(InvalidRequest, match=reason):
        parse_label_config(xml)


def test_only_the_first_problems_are_told():
    assert len(find_problems("<View>" + "<Image/>" * 100 + "</View>")) == 20


def test_a_tool_of_many_images_is_looked_at_once():
    tags = "".join(f"<{tag} name='k' toName='{'image,' * 1000}'/>" for tag in ("KeyPointLabels", "BrushLabels"))
    assert parse_label_config(f"<View>{tags}</View>").controls[0].to_names == ("image",)


def test_tags_and_attributes_are_compared_without_regard_to_case():
    xml = """<view><image NAME="image" Value="$image"/>
        <keypointlabels name="kp" toname="image" SMARTONLY="true"><label value="Cat"/></keypointlabels>
        <brushlabels name="brush" toName="image" smart="false"><LABEL Value="Cat"/></brushlabels></view>"""
    config = parse_label_config(xml)
    assert config.find_image("image").value == "$image"
    assert [str(control) for control in config.controls] == ["KeyPointLabels 'kp'", "BrushLabels 'brush'"]
    assert [control.is_smart for control in config.controls] == [True, False]
    assert config.find_answer_control("BrushLabels", "image", "Cat").name == "brush"
    assert find_problems(xml) == []


def test_a_bitmask_is_a_place_for_masks():
    assert find_problems(f"<View>{IMAGE}{POINTS}{BRUSH.replace('Brush', 'Bitmask')}</View>") == []


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (POINTS + BRUSH.replace("Brush", "Vector"), "; VectorLabels 'brush' can hold no mask of this server"),
        (POINTS + BRUSH.replace("Brush", "Ellipse"), "; EllipseLabels 'brush' can hold no mask of this server"),
        (
            POINTS + '<Brush name="b" toName="image"/><Labels name="l" toName="image"><Label value="Cat"/></Labels>',
            "; Brush 'b' and Labels 'l' can hold no mask of this server: in place of Brush and Labels take BrushLabels",
        ),
        (BRUSH + POINTS.replace("KeyPoint", "Ellipse"), "; no click of EllipseLabels 'kp' is answered"),
        (
            BRUSH + '<KeyPoint name="p" toName="image"/><Labels name="l" toName="image"><Label value="Cat"/></Labels>',
            "in place of KeyPoint and Labels take KeyPointLabels, which has its own labels",
        ),
    ],
)
def test_tags_that_are_not_answered_are_named(tags, problem):
    (found,) = find_problems(f"<View>{IMAGE}{tags}</View>")
    assert problem in found


def test_an_image_may_always_show_the_same_address():
    xml = f"<View>{IMAGE}{POINTS}{BRUSH}</View>".replace("$image", "https://example.com/a.png")
    assert find_problems(xml) == []
    assert parse_label_config(xml).find_image("image").find_reference({}, 0) == "https://example.com/a.png"


@pytest.mark.parametrize(
    ("tag", "is_lost"),
    [("BrushLabels", True), ("BitmaskLabels", True), ("Brush", True), ("PolygonLabels", False), ("Labels", False)],
)
def test_smart_tools_that_ask_for_nothing_are_found(tag, is_lost):
    config = parse_label_config(f'<View>{IMAGE}{POINTS}<{tag} name="x" toName="image"/></View>')
    assert [control.tag for control in find_lost_tools(config)] == [tag] * is_lost
    quiet = parse_label_config(f'<View>{IMAGE}{POINTS}<{tag} name="x" toName="image" smart="false"/></View>')
    assert find_lost_tools(quiet) == []
