"""Proposals through HTTP: a Label Studio on loopback has the annotations, and asks for predictions as the real one."""

from __future__ import annotations

import base64
import re
import threading
import time

import cv2
import numpy as np
import pytest

from backend.errors import Busy
from backend.label_studio.brush_rle import decode
from backend.label_studio.shapes import bitmask
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import Click, Proposal
from tests.helpers.label_studio.fake_studio import TOKEN, FakeStudio, brush_region, square
from tests.helpers.label_studio.requests import ask

SIZE = (480, 640)
DEADLINE_SECONDS = 20


@pytest.fixture
def studio(make_png):
    """Six tasks, none of them annotated yet."""
    studio = FakeStudio()
    for number in range(1, 7):
        studio.add_task(number, make_png(640, 480))
    yield studio
    studio.close()


@pytest.fixture
def looks(segmenter):
    """Every question for proposals: the labels and masks of its examples. The answer is the first of each label."""
    asked = []
    find = segmenter.propose

    def propose(picture, examples, *arguments):
        asked.append([(example.label, example.mask) for example in examples])
        return find(picture, examples, *arguments)

    segmenter.propose = propose
    return asked


class Page:
    """Asks as Label Studio does when a task is opened, and when predictions are retrieved."""

    def __init__(self, client, recorded, studio):
        self.client = client
        self.batch = recorded("predict_batch_2_tasks")
        self.studio = studio

    def body(self, *numbers):
        first = {**self.batch["tasks"][0], "annotations": []}
        tasks = [
            {**first, "id": number, "data": task["data"], "annotations": task["annotations"]}
            for number, task in ((number, self.studio.tasks[number]) for number in numbers)
        ]
        return {**self.batch, "tasks": tasks}

    def ask(self, *numbers):
        response = self.client.post("/predict", json=self.body(*numbers))
        assert response.status_code == 200, response.json
        return response.json["results"]

    def open(self, number):
        (answer,) = self.ask(number)
        return answer

    def version(self):
        body = {"project": self.batch["project"], "schema": self.batch["label_config"], "access_token": "x"}
        return self.client.post("/setup", json=body).json["model_version"]

    def tell(self):
        """An event of a webhook."""
        assert self.client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 204

    def metric(self, name):
        lines = self.client.get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


@pytest.fixture
def settings(studio):
    return {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": TOKEN,
        "M2N2_PROPOSE": "accepted",
        "M2N2_PROPOSE_WAIT_SECONDS": str(DEADLINE_SECONDS),
        "M2N2_PREPARE_NEXT": "0",
    }


@pytest.fixture
def make_page(make_client, recorded, studio, settings):
    return lambda **more: Page(make_client({**settings, **more}), recorded, studio)


@pytest.fixture
def page(make_page):
    return make_page()


def masks_of(prediction):
    return [decode(region["value"]["rle"], SIZE) for region in prediction["result"]]


def test_an_opened_task_has_what_is_like_an_accepted_mask(page, studio, looks):
    studio.annotate(1, brush_region(square()))
    prediction = page.open(4)
    (region,) = prediction["result"]
    np.testing.assert_array_equal(masks_of(prediction), [square()])
    assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", "brush", "image")
    assert (region["value"]["brushlabels"], region["score"]) == (["Cat"], 0.9)
    assert re.fullmatch(r"disc-1-1-examples-[0-9a-f]{8}", prediction["model_version"])
    assert page.version() == prediction["model_version"], "Label Studio compares these"


def test_without_annotations_nobody_waits_and_there_is_nothing(page, studio, looks):
    assert page.open(4) == []
    assert page.ask(4, 5) == [[], []]
    assert page.version() == "disc-1"
    assert looks == []


def test_by_default_no_annotation_is_looked_at(make_page, studio, looks):
    studio.annotate(1, brush_region(square()))
    page = make_page(M2N2_PROPOSE="off")
    page.tell()
    assert page.ask(4) == [[]]
    assert page.ask(4, 5) == [[], []]
    assert page.version() == "disc-1"
    assert looks == []
    assert studio.count("/api/tasks") == 0
    assert "m2n2_proposals" not in page.client.get("/metrics").text


def test_the_newest_images_of_each_label_are_examples_and_the_one_before_comes_first(make_page, studio, looks):
    studio.annotate(2, brush_region(square(10)), brush_region(square(20), "Dog"))
    studio.annotate(5, brush_region(square(50)), brush_region(square(250)))
    studio.annotate(6, brush_region(square(60)))
    studio.annotate(1, brush_region(square(70)))
    make_page(M2N2_PROPOSE_EXAMPLES="2").open(4)
    ((*found,),) = looks
    assert [(label, int(np.flatnonzero(mask.any(axis=0))[0])) for label, mask in found] == [
        # Task 2 comes before task 4; then 1 and 6 are the newest of Cat.
        ("Cat", 10),
        ("Dog", 20),
        ("Cat", 70),
        ("Cat", 60),
    ]


def test_all_regions_of_a_label_in_an_image_are_one_example(page, studio, looks):
    studio.annotate(1, brush_region(square(10)), brush_region(square(250)))
    page.open(4)
    ((_, mask),) = looks[0]
    np.testing.assert_array_equal(mask, square(10) | square(250))


def test_the_annotation_that_was_changed_last_counts_and_skipped_ones_do_not(page, studio, looks):
    studio.annotate(1, brush_region(square(10)))
    studio.annotate(1, brush_region(square(20)))
    studio.annotate(1, brush_region(square(30)), was_cancelled=True)
    page.open(4)
    ((_, mask),) = looks[0]
    np.testing.assert_array_equal(mask, square(20))


def test_a_task_that_is_annotated_has_no_proposals(page, studio, looks):
    studio.annotate(1, brush_region(square()))
    studio.annotate(4, brush_region(square()))
    assert page.open(4) == []
    assert page.ask(4, 5)[0] == []


def test_an_event_has_the_annotations_looked_at_again(page, studio, looks):
    studio.annotate(1, brush_region(square(10)))
    first = page.open(4)
    studio.annotate(2, brush_region(square(20)))
    assert page.open(4)["model_version"] == first["model_version"]
    assert len(looks) == 1, "what is known is not made again"
    page.tell()
    second = page.open(4)
    assert "-2-examples-" in second["model_version"]
    assert page.version() == second["model_version"]
    assert studio.count("/api/tasks/1/annotations/") == 1, "only what changed is fetched"


def test_a_changed_annotation_makes_another_version(page, studio, looks):
    studio.annotate(1, brush_region(square(10)))
    first = page.open(4)
    studio.annotate(1, brush_region(square(20)))
    page.tell()
    second = page.open(4)
    assert second["model_version"] != first["model_version"]
    np.testing.assert_array_equal(masks_of(second), [square(20)])


def test_a_deleted_annotation_is_no_example_any_more(page, studio, looks):
    studio.annotate(1, brush_region(square(10)))
    assert page.open(4) != []
    studio.tasks[1]["annotations"].clear()
    page.tell()
    assert page.version() != "disc-1", "nothing was asked yet"
    assert page.open(5) == []
    assert page.version() == "disc-1"


def test_ten_tasks_at_once_have_theirs_in_their_order(page, studio, looks, make_png):
    for number in range(7, 18):
        studio.add_task(number, make_png(640, 480 if number % 2 else 400))
    studio.annotate(1, brush_region(square()))
    answers = page.ask(*range(8, 18))
    # The disc finds its like in pictures of the example's size alone.
    assert [answer != [] for answer in answers] == [number % 2 == 1 for number in range(8, 18)]
    assert len(looks) == 10
    assert page.ask(*range(8, 18)) == answers
    assert len(looks) == 10, "what is known is not made again"
    assert page.metric("m2n2_proposals_tasks_total") == 10
    assert page.metric("m2n2_proposals_proposed_total") == 5
    assert page.metric("m2n2_proposals_regions_total") == 5


def hold_back(segmenter):
    """Proposals are made once the event that this returns is set."""
    allowed, find = threading.Event(), segmenter.propose

    def propose(*arguments):
        assert allowed.wait(DEADLINE_SECONDS)
        return find(*arguments)

    segmenter.propose = propose
    return allowed


def test_what_is_late_is_there_the_next_time(make_page, studio, segmenter):
    studio.annotate(1, brush_region(square()))
    allowed = hold_back(segmenter)
    page = make_page(M2N2_PROPOSE_WAIT_SECONDS="0.2")
    assert page.open(4) == []
    allowed.set()
    wait_for(lambda: page.metric("m2n2_proposals_tasks_total") == 1)
    np.testing.assert_array_equal(masks_of(page.open(4)), [square()])


def test_older_proposals_are_given_where_those_by_the_newest_examples_are_late(make_page, studio, segmenter):
    studio.annotate(1, brush_region(square(10)))
    page = make_page(M2N2_PROPOSE_WAIT_SECONDS="1")
    wait_for(lambda: page.open(4) != [])
    studio.annotate(2, brush_region(square(20)))
    page.tell()
    allowed = threading.Event()
    segmenter.propose = lambda *arguments: allowed.wait(DEADLINE_SECONDS) and ()
    np.testing.assert_array_equal(masks_of(page.open(4)), [square(10)])
    allowed.set()


def test_a_batch_ends_at_its_deadline_and_goes_on_in_the_background(make_page, studio, segmenter, caplog):
    studio.annotate(1, brush_region(square()))
    allowed = hold_back(segmenter)
    page = make_page(M2N2_ANSWER_TIMEOUT_SECONDS="0.5")
    assert page.ask(4, 5, 6) == [[], [], []]
    assert "3 tasks have no proposals yet: ask for predictions again" in caplog.text
    allowed.set()
    wait_for(lambda: page.metric("m2n2_proposals_tasks_total") == 3)
    assert [] not in page.ask(4, 5, 6)


def test_a_task_that_is_opened_goes_before_those_of_a_batch(make_page, studio, segmenter, make_png):
    studio.add_task(4, make_png(640, 400))
    studio.annotate(1, brush_region(square()))
    begun, allowed, done, find = threading.Event(), threading.Event(), [], segmenter.propose

    def propose(picture, examples, deadline, slots):
        with slots.computing():
            begun.set()
            assert allowed.wait(DEADLINE_SECONDS)
        with slots.computing():
            done.append(picture.size[0])
        return find(picture, examples, deadline, slots)

    segmenter.propose = propose
    page, answers = make_page(), []
    batch = threading.Thread(target=lambda: answers.extend(page.ask(5, 6)))
    batch.start()
    assert begun.wait(DEADLINE_SECONDS)
    opening = threading.Thread(target=page.open, args=(4,))
    opening.start()
    wait_for(lambda: page.metric("m2n2_preparation_waiting") >= 1 and opening.is_alive())
    wait_for(lambda: page.metric("m2n2_preparation_waiting") == 2)
    allowed.set()
    for thread in (batch, opening):
        thread.join(DEADLINE_SECONDS)
    assert done == [400, 480, 480]
    assert [] not in answers


def test_the_next_task_has_its_proposals_before_it_is_opened(make_page, studio, looks):
    studio.annotate(1, brush_region(square()))
    page = make_page(M2N2_PREPARE_NEXT="1")
    page.open(4)
    wait_for(lambda: page.metric("m2n2_proposals_tasks_total") == 2)
    assert page.open(5) != []
    assert len(looks) >= 2


@pytest.mark.parametrize("wait", ["0", "20"])
def test_a_task_opens_where_label_studio_cannot_be_asked(make_page, studio, looks, wait, caplog):
    studio.annotate(1, brush_region(square()))
    studio.status = 500
    page = make_page(M2N2_PROPOSE_WAIT_SECONDS=wait)
    assert page.open(4) == []
    wait_for(lambda: "no newer examples for proposals: LabelStudioError" in caplog.text)
    assert looks == []


def test_what_is_known_stays_while_label_studio_cannot_be_asked(page, studio, looks):
    studio.annotate(1, brush_region(square()))
    page.open(4)
    studio.status = 500
    page.tell()
    assert page.open(4) != []


def test_a_label_studio_that_hangs_holds_a_task_no_longer_than_that(make_page, studio, looks):
    studio.annotate(1, brush_region(square()))
    page = make_page(M2N2_PROPOSE_WAIT_SECONDS="0.2", M2N2_READ_TIMEOUT_SECONDS="0.5")
    studio.gate.clear()
    started = time.monotonic()
    assert page.open(4) == []
    assert time.monotonic() - started < 5
    studio.gate.set()


@pytest.mark.parametrize("error", [OutOfMemory("no room"), Busy("too much"), RuntimeError("a defect")])
def test_an_engine_that_fails_keeps_no_task_from_opening(page, studio, segmenter, error, caplog):
    studio.annotate(1, brush_region(square()))

    def propose(*_):
        raise error

    segmenter.propose = propose
    assert page.open(4) == []
    assert page.metric("m2n2_proposals_failures_total") == 1
    assert "no proposals for task 4" in caplog.text


def test_an_example_whose_image_is_gone_is_left_out(page, studio, looks, caplog):
    studio.annotate(1, brush_region(square(10)))
    studio.annotate(2, brush_region(square(20)))
    del studio.images["/data/upload/1/2.png"]
    np.testing.assert_array_equal(masks_of(page.open(4)), [square(10)])
    assert "an example is left out: ImageUnavailable" in caplog.text


def test_proposals_below_the_score_are_not_given(make_page, studio, looks):
    studio.annotate(1, brush_region(square()))
    assert make_page(M2N2_PROPOSE_SCORE="0.91").open(4) == []
    assert make_page(M2N2_PROPOSE_SCORE="0.9").open(4) != []


def test_the_surest_come_first_and_too_many_are_cut(page, studio, segmenter):
    studio.annotate(1, brush_region(square()))
    segmenter.propose = lambda *_: tuple(
        Proposal(square(4 * number, side=4), "Cat", 1 - number / 200, (Click(1, 1),)) for number in range(60)
    )
    prediction = page.open(4)
    assert len(prediction["result"]) == 50
    assert prediction["result"][0]["score"] == 1
    assert prediction["score"] == pytest.approx(np.mean([region["score"] for region in prediction["result"]]))


def test_a_proposal_of_a_label_that_the_project_has_no_more_is_left_out(page, studio, looks):
    studio.annotate(1, brush_region(square(), "Horse"))
    assert page.open(4) == []


# --- kinds of annotations


def test_bitmasks_and_polygons_are_examples_too(page, studio, looks):
    mask = square()
    drawn = {"imageDataURL": bitmask.encode(mask), "bitmasklabels": ["Cat"]}
    studio.annotate(1, brush_region(mask, type="bitmasklabels", value=drawn))
    corners = [[100 / 6.4, 100 / 4.8], [180 / 6.4, 100 / 4.8], [180 / 6.4, 180 / 4.8], [100 / 6.4, 180 / 4.8]]
    traced = {"points": corners, "closed": True, "polygonlabels": ["Dog"]}
    studio.annotate(2, brush_region(mask, type="polygonlabels", value=traced))
    page.open(4)
    found = dict(looks[0])
    np.testing.assert_array_equal(found["Cat"], mask)
    assert (found["Dog"] & mask).sum() / (found["Dog"] | mask).sum() > 0.97


def make_png_url(pixels):
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


@pytest.mark.parametrize(
    "region",
    [
        brush_region(square(), value={"format": "rle", "rle": [1, 2], "brushlabels": ["Cat"]}),
        brush_region(square(), value={"format": "rle", "rle": [0] * 1_000_001, "brushlabels": ["Cat"]}),
        brush_region(square(), value={"format": "rle", "rle": "no", "brushlabels": ["Cat"]}),
        brush_region(square(), type="bitmasklabels", value={"imageDataURL": "data:,x", "bitmasklabels": ["Cat"]}),
        brush_region(
            square(),
            type="bitmasklabels",
            value={"imageDataURL": make_png_url(np.ones((4, 4, 4), np.uint8)), "bitmasklabels": ["Cat"]},
        ),
        brush_region(
            square(),
            type="bitmasklabels",
            value={"imageDataURL": make_png_url(np.ones((480, 640), np.uint8)), "bitmasklabels": ["Cat"]},
        ),
        brush_region(square(), type="polygonlabels", value={"points": [[1, 1], [2, 2]], "polygonlabels": ["Cat"]}),
        brush_region(square(), type="polygonlabels", value={"points": [[1], [2], [3]], "polygonlabels": ["Cat"]}),
        brush_region(
            square(), type="polygonlabels", value={"points": [[1, 1], [2, 2], [1e30, 3]], "polygonlabels": ["Cat"]}
        ),
    ],
)
def test_a_region_that_cannot_be_read_is_passed_over(page, studio, looks, region, caplog):
    studio.annotate(1, region, brush_region(square()))
    page.open(4)
    ((_, mask),) = looks[0]
    np.testing.assert_array_equal(mask, square())
    assert "a region of an annotation of task 1 is passed over" in caplog.text


@pytest.mark.parametrize(
    "region",
    [
        brush_region(square(), value={"rle": [], "brushlabels": []}),
        brush_region(square(), value={"rle": [], "brushlabels": [7]}),
        brush_region(square(), type="choices", value={"choices": ["Cat"]}),
        brush_region(square(), image_rotation=90),
        brush_region(square(), original_width=200_000, original_height=200_000),
        brush_region(square(), to_name="other"),
        brush_region(np.zeros(SIZE, bool)),
        {"type": "relation"},
        "no region",
    ],
)
def test_a_region_that_is_no_mask_of_an_image_is_no_example(page, studio, looks, region):
    studio.annotate(1, region)
    assert page.open(4) == []
    assert looks == []


def test_label_studio_answering_in_another_form_breaks_nothing(page, studio, looks, caplog):
    studio.annotate(1, brush_region(square()), id=None)
    assert page.open(4) == []
    assert "tells annotations in a form not known" in caplog.text


# --- what annotators make of them


def test_kept_and_corrected_proposals_are_counted(page, studio, looks):
    kept = brush_region(square(), id="proposal-1", origin="prediction")
    studio.annotate(1, kept)
    page.open(4)
    assert page.metric("m2n2_proposals_kept_total") == 0, "it was there before the start"
    # A click that corrects a region makes it one by hand, but its id stays.
    studio.annotate(2, kept, brush_region(square(), id="proposal-2", origin="manual"))
    studio.annotate(3, kept, brush_region(square()), brush_region(square(), origin="prediction"))
    page.tell()
    page.open(4)
    assert page.metric("m2n2_proposals_kept_total") == 2
    assert page.metric("m2n2_proposals_corrected_total") == 1


# --- corrections of a proposal


class Correcting:
    """One click on the sample picture, in a task with predictions. starts: what the engine was given."""

    def __init__(self, client, interactive, segmenter):
        self.client = client
        self.make_body = interactive
        self.starts = segmenter.starts

    def click(self, predictions=(), drafts=(), annotations=(), **point):
        body = self.make_body(1)
        body["tasks"][0] |= {
            "predictions": [{"id": number, "result": list(result)} for number, result in predictions],
            "drafts": [{"id": 1, "result": list(result)} for result in drafts],
            "annotations": [{"id": 1, "result": list(result)} for result in annotations],
        }
        body["params"]["context"]["result"][0].update(point)
        (answer,) = ask(self.client, body)["results"]
        return answer["result"]


@pytest.fixture
def correcting(make_client, settings, interactive, segmenter):
    return Correcting(make_client(settings), interactive, segmenter)


def proposed(identifier="proposal-1", mask=None, **more):
    """A region under the sample's click, as this server proposes it."""
    return brush_region(square(150, 180, 120) if mask is None else mask, id=identifier, **more)


@pytest.mark.parametrize("is_positive", [True, False])
def test_a_click_in_a_proposal_continues_from_it_and_replaces_it(correcting, is_positive):
    (region,) = correcting.click([(7, [proposed()])], is_positive=is_positive)
    np.testing.assert_array_equal(correcting.starts[0], square(150, 180, 120))
    assert region["id"] == "proposal-1"


def test_of_two_predictions_the_page_begins_with_the_newest(correcting):
    (region,) = correcting.click([(7, [proposed("proposal-old")]), (9, [proposed("proposal-new")]), (8, [])])
    assert region["id"] == "proposal-new"


def test_a_proposal_that_was_saved_in_a_draft_counts_as_it_is_there(correcting):
    mask = square(140, 170, 150)
    (region,) = correcting.click([(7, [proposed()])], drafts=[[proposed(mask=mask)]])
    np.testing.assert_array_equal(correcting.starts[0], mask)
    assert region["id"] == "proposal-1"


@pytest.mark.parametrize(
    "task",
    [
        # Deleted since, of an annotation that was submitted, of another model, and beside it.
        {"predictions": [(7, [proposed()])], "drafts": [[]]},
        {"predictions": [(7, [proposed()])], "annotations": [[proposed()]]},
        {"predictions": [(7, [proposed("of-another")])]},
        {"predictions": [(7, [proposed(mask=square(400, 400, 50))])]},
        {"drafts": [[proposed("by-hand")]]},
    ],
)
def test_other_regions_are_not_continued_from(correcting, task):
    (region,) = correcting.click(**task)
    assert correcting.starts == [None]
    assert not region["id"].startswith("proposal-")


def test_predictions_of_any_form_do_not_hurt(correcting, interactive):
    body = interactive(1)
    for predictions in ("none", [], [None, 5], [{"id": "x"}], [{"id": 1, "result": "no"}, {"id": 2}]):
        body["tasks"][0]["predictions"] = predictions
        assert len(ask(correcting.client, body)["results"][0]["result"]) == 1


def test_where_proposals_are_off_a_click_finds_an_object_anew(make_client, interactive, segmenter):
    Correcting(make_client(), interactive, segmenter).click([(7, [proposed()])])
    assert segmenter.starts == [None]


def test_with_all_drafted_regions_a_proposal_is_corrected_too(make_client, settings, interactive, segmenter):
    correcting = Correcting(make_client({**settings, "M2N2_REFINE_REGION": "true"}), interactive, segmenter)
    assert correcting.click([(7, [proposed()])])[0]["id"] == "proposal-1"
    assert correcting.click(drafts=[[proposed(), proposed("by-hand")]])[0]["id"] == "by-hand"


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
