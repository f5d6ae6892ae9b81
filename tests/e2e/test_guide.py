"""The annotators' guide tells the truth: its steps, one after the other. Its pictures are taken here."""

from __future__ import annotations

import re

from playwright.sync_api import expect

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
    page = annotator.page
    annotator.shoot_marked(
        "ready",
        above=[page.get_by_text(text, exact=True) for text in ("Auto-Annotation", "Auto-Accept Suggestions")],
        beside=[page.locator("button.lsf-tool_smart"), page.locator(".lsf-label", has_text="Person").first],
    )
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


AUTO_ANNOTATION = "[data-testid=bottombar-auto-annotation-toggle]"


def test_nothing_happens_for_the_reasons_that_the_guide_lists(make_annotator, upload, project):
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", read_sample("coffee.png")))
    asked = []
    annotator.page.on("request", lambda request: asked.append(request.url))

    def press():
        annotator.press(0.4, 0.45)
        annotator.page.wait_for_timeout(500)
        return [url for url in asked if "interactive-annotating" in url]

    brush = annotator.page.locator('button[aria-label="brush-tool"]')
    expect(brush).to_have_class(re.compile("lsf-tool_active"))
    assert press() == [], "the page has the brush in hand"
    annotator.select_label("Cup")
    expect(annotator.page.locator(".lsf-tool_active")).to_have_count(0)
    assert press() == [], "Auto-Annotation is off, and no tool is in hand any more"
    annotator.prepare()
    annotator.page.locator(".lsf-label", has_text="Cup").first.click()
    assert annotator.page.locator(".lsf-label_selected").count() == 0
    assert press() == [], "no label is selected"
    assert annotator.click("Cup", 0.4, 0.45).regions, "all is right"
    annotator.shoot("at-last")


def test_the_instructions_of_the_project_lead_to_the_guide(make_annotator, upload, project):
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", read_sample("coffee.png")))
    annotator.follow_instructions("Guide with pictures")
    assert annotator.page.get_by_role("heading", name="Annotating with M2N2 in Label Studio").is_visible()
    widths = annotator.page.evaluate("() => [...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= 3
    assert all(widths)
