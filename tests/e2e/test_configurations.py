"""Configurations as people write them, in the real page: what it shows is what this server looks at, and what it saves
is what this server answered."""

from __future__ import annotations

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.project_setup import Kinds, render_label_config
from tests.helpers.label_studio.photographs import assert_same, decode_bitmask, decode_region, read_sample

CUP, NOSE = (0.40, 0.45), (0.50, 0.60)
LABELS = '<Label value="Cat"/><Label value="Cup"/>'
VALUES = {
    "nested": "$image.url",
    "indexed": "$images[1]",
    "deep": "$pages[0].photographs[0].page",
    "listed": "$images",
    "text": "/data/upload/$folder/$file",
    "blank": "$blank",
    "fixed": "/static/images/opossum_looking.svg",
}


@pytest.fixture
def configure(studio, project):
    """Gives the project another configuration and one task with this data; gives the task's number."""

    def set_config(xml, data):
        studio.client.patch(f"/api/projects/{project}/", {"label_config": xml})
        path = f"/api/projects/{project}/import?return_task_ids=true"
        (task,) = studio.client.post(path, [data])["task_ids"]
        return task

    return set_config


@pytest.fixture
def uploaded(studio, project, upload):
    """Uploads a sample and gives the address that Label Studio has it at."""

    def upload_sample(name):
        return studio.client.get(f"/api/tasks/{upload(name, read_sample(name))}")["data"]["image"]

    return upload_sample


def test_values_stand_for_what_the_page_shows(make_annotator, configure, uploaded, project, segment):
    coffee, chelsea = uploaded("coffee.png"), uploaded("chelsea.png")
    _, folder, file = coffee.rsplit("/", 2)
    data = {
        "image": {"url": coffee},
        "images": [chelsea, coffee],
        "pages": [{"photographs": [{"page": chelsea}]}],
        "folder": folder,
        "file": file,
        "blank": f"  {chelsea}\n",
    }
    images = "".join(f'<Image name="{name}" value="{value}"/>' for name, value in VALUES.items())
    tags = (
        f'<keypointlabels name="kp" toName="nested" smartonly="true">{LABELS}</keypointlabels>'
        f'<brushlabels name="brush" toName="nested" smart="false">{LABELS}</brushlabels>'
    )
    xml = f"<View>{tags}{images}</View>"
    annotator = make_annotator()
    annotator.open_task(project, configure(xml, data))
    shown = annotator.read_sources()
    ours = {image.name: image.find_reference(data, 0) for image in parse_label_config(xml).images}
    assert {name: source.strip() for name, source in shown.items()} == ours

    annotator.prepare()
    exchange = annotator.click("Cup", *CUP)
    annotator.shoot("suggested")
    annotator.accept()
    (saved,) = annotator.submit()
    assert (saved["type"], saved["to_name"]) == ("brushlabels", "nested")
    assert_same(decode_region(saved), segment(read_sample("coffee.png"), exchange.asked))


def test_a_bitmask_is_shown_saved_and_exported_as_it_was_answered(
    make_annotator, configure, uploaded, project, studio, segment
):
    xml = render_label_config(["Cat", "Cup"], Kinds(answers=("bitmask",)))
    annotator = make_annotator()
    annotator.open_task(project, configure(xml, {"image": uploaded("coffee.png")}))
    annotator.prepare()
    exchange = annotator.click("Cup", *CUP)
    annotator.shoot("suggested")
    expected = segment(read_sample("coffee.png"), exchange.asked)
    assert (exchange.region["type"], exchange.region["value"]["bitmasklabels"]) == ("bitmasklabels", ["Cup"])
    assert_same(decode_bitmask(exchange.region["value"]["imageDataURL"]), expected)
    annotator.accept()
    annotator.shoot("accepted")
    (drawn,) = annotator.draw_bitmasks()
    assert_same(decode_bitmask(drawn), expected)

    (saved,) = annotator.submit()
    assert (saved["type"], saved["value"]["bitmasklabels"]) == ("bitmasklabels", ["Cup"])
    assert saved["value"]["imageDataURL"] == exchange.region["value"]["imageDataURL"]
    exported = studio.client.get(f"/api/projects/{project}/export", exportType="JSON")
    (region,) = [region for task in exported for one in task["annotations"] for region in one["result"]]
    assert_same(decode_bitmask(region["value"]["imageDataURL"]), expected)


def test_a_page_of_a_repeater_is_answered_for_its_own_tags(make_annotator, configure, uploaded, project, segment):
    xml = (
        '<View><Repeater on="$document" indexFlag="{{idx}}" mode="pagination">'
        '<Image name="page_{{idx}}" value="$document[{{idx}}].page"/>'
        f'<KeyPointLabels name="kp_{{{{idx}}}}" toName="page_{{{{idx}}}}" smartOnly="true">{LABELS}</KeyPointLabels>'
        f'<BrushLabels name="brush_{{{{idx}}}}" toName="page_{{{{idx}}}}" smart="false">{LABELS}</BrushLabels>'
        "</Repeater></View>"
    )
    data = {"document": [{"page": uploaded("coffee.png")}, {"page": uploaded("chelsea.png")}]}
    annotator = make_annotator()
    annotator.open_task(project, configure(xml, data))
    config = parse_label_config(xml).for_task(data)
    assert annotator.read_sources() == {image.name: image.find_reference(data, 0) for image in config.images}
    annotator.prepare()
    exchange = annotator.click("Cup", *CUP)
    annotator.shoot("suggested")
    assert (exchange.region["from_name"], exchange.region["to_name"]) == ("brush_0", "page_0")
    annotator.accept()
    (saved,) = annotator.submit()
    assert_same(decode_region(saved), segment(read_sample("coffee.png"), exchange.asked))


def test_the_first_row_of_labels_is_the_only_one_to_be_seen(make_annotator, configure, uploaded, project):
    xml = render_label_config(["Cat", "Cup"], Kinds(answers=("brush", "bitmask", "polygon")))
    annotator = make_annotator()
    annotator.open_task(project, configure(xml, {"image": uploaded("coffee.png")}))
    annotator.shoot("closed")
    labels = annotator.page.locator(".lsf-label")
    assert [label.is_visible() for label in labels.all()] == [True] * 2 + [False] * 6
    annotator.page.get_by_text("Labels for work by hand").click()
    labels.last.wait_for(state="visible")
    annotator.shoot("open")
