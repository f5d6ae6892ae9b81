"""What annotators do, in the real page: every mask that is shown or saved is the engine's own, to the pixel."""

from __future__ import annotations

from tests.helpers.label_studio.photographs import (
    assert_same,
    compute_iou,
    decode_region,
    find_newest_task,
    lay_down,
    read_sample,
)

CUP, CUP_RIM, TABLE = (0.40, 0.45), (0.62, 0.55), (0.85, 0.15)
NOSE, EAR, BACKDROP = (0.50, 0.60), (0.30, 0.25), (0.95, 0.10)


def test_an_uploaded_image_click_click_alt_click_accept_submit(make_annotator, upload, project, segment):
    coffee = read_sample("coffee.png")
    task = upload("coffee.png", coffee)
    annotator = make_annotator()
    annotator.open_task(project, task)
    annotator.prepare()

    first = annotator.click("Cup", *CUP)
    annotator.shoot("1-click")
    assert_same(decode_region(first.region), segment(coffee, first.asked))
    second = annotator.click("Cup", *CUP_RIM)
    annotator.shoot("2-clicks")
    assert_same(decode_region(second.region), segment(coffee, second.asked))
    third = annotator.click("Cup", *TABLE, alt=True)
    annotator.shoot("3-alt-click")
    assert [point["is_positive"] for point in third.asked] == [True, True, False]
    assert [point["id"] for point in third.asked[:2]] == [point["id"] for point in second.asked]

    annotator.accept()
    annotator.shoot("4-accepted")
    (saved,) = annotator.submit()
    assert (saved["type"], saved["value"]["brushlabels"]) == ("brushlabels", ["Cup"])
    # The page writes the mask anew, without the byte of fill that the SDK puts after a full one.
    sent = third.region["value"]["rle"]
    assert saved["value"]["rle"] in (sent, sent[:-1])
    assert_same(decode_region(saved), segment(coffee, third.asked))


def test_a_local_file_with_auto_accept(make_annotator, studio, project, segment):
    chelsea = read_sample("chelsea.png")
    (studio.files / "photographs" / "Chelsea the cat.png").write_bytes(chelsea)
    storage = studio.client.post(
        "/api/storages/localfiles",
        {"project": project, "title": "photographs", "path": str(studio.files / "photographs"), "use_blob_urls": True},
    )
    studio.client.post(f"/api/storages/localfiles/{storage['id']}/sync", {})
    annotator = make_annotator()
    annotator.open_task(project, find_newest_task(studio.client, project))
    annotator.prepare(auto_accept=True)

    first = annotator.click("Cat", *NOSE)
    second = annotator.click("Cat", *BACKDROP)
    annotator.shoot("two-objects")
    assert [len(exchange.asked) for exchange in (first, second)] == [1, 1]
    saved = {region["id"]: region for region in annotator.submit()}
    for exchange in (first, second):
        assert_same(decode_region(saved[exchange.region["id"]]), segment(chelsea, exchange.asked))
    assert len(saved) == 2


def test_a_lone_alt_click_with_auto_accept_adds_nothing(make_annotator, upload, project):
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", read_sample("coffee.png")))
    annotator.prepare(auto_accept=True)
    assert annotator.click("Cup", *TABLE, alt=True).regions == []
    assert annotator.submit() == []


def test_points_restored_after_a_reload_keep_their_signs(make_annotator, upload, project, segment):
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    annotator.click("Cup", *CUP)
    before = annotator.click("Cup", *TABLE, alt=True)
    annotator.await_draft(len(before.asked))

    annotator.reload()
    annotator.prepare()
    after = annotator.click("Cup", *CUP_RIM)
    annotator.shoot("restored")
    assert [point["id"] for point in after.asked[:2]] == [point["id"] for point in before.asked]
    assert not any("is_positive" in point for point in after.asked[:2]), "the page has forgotten them"
    signs = {point["id"]: point["is_positive"] for point in [*after.asked[2:], *before.asked]}
    restored = [{**point, "is_positive": signs[point["id"]]} for point in after.asked]
    assert [point["is_positive"] for point in restored] == [True, False, True]
    assert_same(decode_region(after.region), segment(coffee, restored))


def test_a_photograph_that_its_exif_note_turns(make_annotator, upload, project, segment):
    chelsea = read_sample("chelsea.png")
    photograph = lay_down(chelsea)
    annotator = make_annotator()
    annotator.open_task(project, upload("upright.jpg", photograph))
    annotator.prepare()
    exchange = annotator.click("Cat", *NOSE)
    annotator.shoot("upright")
    assert (exchange.region["original_width"], exchange.region["original_height"]) == (451, 300)
    annotator.accept()
    (saved,) = annotator.submit()
    mask = decode_region(saved)
    assert_same(mask, segment(photograph, exchange.asked))
    # Against the photograph that was never turned; what differs is what JPEG loses.
    assert compute_iou(mask, segment(chelsea, exchange.asked)) > 0.9


def test_two_annotators_at_the_same_time_never_meet(make_annotator, upload, project, studio, segment):
    images = {"Cup": read_sample("coffee.png"), "Cat": read_sample("chelsea.png")}
    spots = {"Cup": (CUP, CUP_RIM), "Cat": (NOSE, EAR)}
    annotators = {label: make_annotator(account) for label, account in zip(images, studio.accounts, strict=True)}
    for label, annotator in annotators.items():
        annotator.open_task(project, upload(f"{label}.png", images[label]))
        annotator.prepare()
    cup, cat = annotators.values()
    for turn in range(2):
        for label, annotator in annotators.items():
            annotator.select_label(label)
        # Both are sent before either answer is waited for; an image that was prepared when its task was opened may be
        # answered in between all the same.
        with cup.expect_click() as cup_answer, cat.expect_click() as cat_answer:
            cup.press(*spots["Cup"][turn])
            cat.press(*spots["Cat"][turn])
        exchanges = {"Cup": cup.await_answer(cup_answer.value), "Cat": cat.await_answer(cat_answer.value)}
        for label, exchange in exchanges.items():
            assert len(exchange.asked) == turn + 1
            assert_same(decode_region(exchange.region), segment(images[label], exchange.asked))
    for label, annotator in annotators.items():
        annotator.shoot(label)
        annotator.accept()
        (saved,) = annotator.submit()
        assert saved["value"]["brushlabels"] == [label]
        assert_same(decode_region(saved), segment(images[label], exchanges[label].asked))


def test_a_backend_that_dies_between_clicks_loses_nothing(make_annotator, upload, project, backend, segment):
    coffee = read_sample("coffee.png")
    annotator = make_annotator()
    annotator.open_task(project, upload("coffee.png", coffee))
    annotator.prepare()
    annotator.click("Cup", *CUP)
    backend.kill()
    lost = annotator.click("Cup", *CUP_RIM)
    assert "Connection refused" in lost.answer["errors"][0]
    backend.start()
    backend.wait_ready(300)
    third = annotator.click("Cup", *TABLE, alt=True)
    annotator.shoot("after-the-restart")
    assert [point["is_positive"] for point in third.asked] == [True, True, False]
    annotator.accept()
    (saved,) = annotator.submit()
    assert_same(decode_region(saved), segment(coffee, third.asked))
