"""Image files as the real page shows them: the mask lies where the annotator sees the object."""

from __future__ import annotations

from m2n2_engine.image_file import decode_image
from m2n2_engine.image_file.orientation import Orientation
from tests.helpers.label_studio.photographs import assert_same, compute_iou, decode_region, lay_down, read_sample

STORED_NOSE = (0.60, 0.50)
"""Of the cat that lies on its side."""

UPRIGHT_NOSE = (0.50, 0.60)


def test_a_webp_is_shown_as_it_is_stored_whatever_its_exif_says(make_annotator, upload, project, segment):
    photograph = lay_down(read_sample("chelsea.png"), "WEBP")
    # Pillow, and whoever follows it, would turn it.
    assert decode_image(photograph, orientation=Orientation.FILE).shape[:2] == (300, 451)
    annotator = make_annotator()
    annotator.open_task(project, upload("stored.webp", photograph))
    annotator.prepare()
    exchange = annotator.click("Cat", *STORED_NOSE)
    annotator.shoot("stored")
    assert (exchange.region["original_width"], exchange.region["original_height"]) == (300, 451)
    annotator.accept()
    (saved,) = annotator.submit()
    assert_same(decode_region(saved), segment(photograph, exchange.asked))


def test_a_jpeg_without_its_end_marker_is_shown_and_answered(make_annotator, upload, project, segment):
    whole = lay_down(read_sample("chelsea.png"))
    assert whole.endswith(b"\xff\xd9")
    annotator = make_annotator()
    annotator.open_task(project, upload("no-end.jpg", whole[:-2]))
    annotator.prepare()
    exchange = annotator.click("Cat", *UPRIGHT_NOSE)
    annotator.shoot("no-end")
    assert (exchange.region["original_width"], exchange.region["original_height"]) == (451, 300)
    assert compute_iou(decode_region(exchange.region), segment(whole, exchange.asked)) > 0.99
