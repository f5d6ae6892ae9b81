"""A part of the configuration that stands there once for each item of a list."""

from __future__ import annotations

import pytest

from backend.errors import InvalidRequest
from backend.label_studio.configuration.problems import find_problems
from backend.label_studio.label_config import parse_label_config

REPEATER = """<View><Repeater on="$document.pages" indexFlag="{{n}}" mode="pagination"><View>
    <Image name="page_{{n}}" value="$document.pages[{{n}}].url"/>
    <KeyPointLabels name="kp_{{n}}" toName="page_{{n}}"><Label value="Cat"/></KeyPointLabels></View>
    <BrushLabels name="brush_{{n}}" toName="page_{{n}}" smart="false"><Label value="Cat"/></BrushLabels>
    </Repeater></View>"""
DATA = {"document": {"pages": [{"url": "0.png"}, {"url": "1.png"}]}}


def test_every_item_has_its_own_tags():
    config = parse_label_config(REPEATER).for_task(DATA)
    assert [image.name for image in config.images] == ["page_0", "page_1"]
    assert config.find_image("page_1").find_reference(DATA, 0) == "1.png"
    assert config.find_answer_control("BrushLabels", "page_1", "Cat").name == "brush_1"
    assert config.find_answer_control("BrushLabels", "page_2", "Cat") is None


def test_a_repeater_may_stand_in_another():
    xml = """<View><Repeater on="$rows"><Repeater on="$rows[{{idx}}]" indexFlag="{{j}}">
        <Image name="i_{{idx}}_{{j}}" value="$rows[{{idx}}][{{j}}]"/></Repeater></Repeater></View>"""
    data = {"rows": [["a.png"], ["b.png", "c.png"]]}
    images = parse_label_config(xml).for_task(data).images
    assert [(image.name, image.find_reference(data, 0)) for image in images] == [
        ("i_0_0", "a.png"),
        ("i_1_0", "b.png"),
        ("i_1_1", "c.png"),
    ]


@pytest.mark.parametrize("data", [{}, {"document": {"pages": []}}, {"document": {"pages": "no list"}}])
def test_without_items_there_are_no_tags(data):
    config = parse_label_config(REPEATER).for_task(data)
    assert (config.images, config.controls) == ((), ())
    with pytest.raises(InvalidRequest, match=r"needs an Image named 'page_0' .*; its images are none"):
        config.find_image("page_0")


def test_a_configuration_without_one_is_the_same_for_every_task():
    config = parse_label_config('<View><Image name="image" value="$image"/></View>')
    assert config.for_task(DATA) is config


def test_its_problems_are_those_of_what_is_repeated():
    assert find_problems(REPEATER) == []
    (problem,) = find_problems(REPEATER.replace("BrushLabels", "EllipseLabels"))
    assert "for toName='page_{{n}}' no BrushLabels" in problem


def test_too_many_copies_are_refused():
    config = parse_label_config(REPEATER)
    assert len(config.for_task({"document": {"pages": [{}] * 1000}}).images) == 1000
    with pytest.raises(InvalidRequest, match=r"a Repeater .* gives more than 4194304 characters for this task"):
        config.for_task({"document": {"pages": [{}] * 20_000}})
