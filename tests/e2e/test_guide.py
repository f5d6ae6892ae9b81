"""The annotators' guide tells the truth: its steps, one after the other. Its pictures are taken here."""

from __future__ import annotations

from tests.helpers.label_studio.photographs import assert_same, decode_region, read_sample

# Of the astronaut: face, suit; helmet. Where the README clicks, too.
PARTS = ((0.44, 0.215), (0.44, 0.645))
NOT_PARTS = ((0.762, 0.84),)


def test_the_label_stays_selected_where_the_guide_says_so(make_annotator, upload, project, segment):
    astronaut = read_sample("astronaut.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("astronaut.png", astronaut))
    annotator.prepare()
    annotator.select_label("Person")
    annotator.shoot("ready")
    annotator.keep_label_selected(picture="settings")

    annotator.select_label("Person")
    for x, y in PARTS:
        with annotator.expect_click() as answer:
            annotator.press(x, y)
        annotator.await_answer(answer.value)
    for x, y in NOT_PARTS:
        with annotator.expect_click() as answer:
            annotator.press(x, y, alt=True)
        last = annotator.await_answer(answer.value)
    annotator.shoot("points")
    assert [point["is_positive"] for point in last.asked] == [True] * len(PARTS) + [False] * len(NOT_PARTS)
    assert_same(decode_region(last.region), segment(astronaut, last.asked))
    annotator.accept()
    annotator.shoot("accepted")


def test_the_instructions_of_the_project_lead_to_the_guide(make_annotator, upload, project):
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", read_sample("coffee.png")))
    annotator.follow_instructions("Guide with pictures")
    assert annotator.page.get_by_role("heading", name="Annotating with M2N2 in Label Studio").is_visible()
    widths = annotator.page.evaluate("() => [...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= 3
    assert all(widths)
