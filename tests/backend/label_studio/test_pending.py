"""What is remembered of pages: how long without a draft, and of how many."""

from __future__ import annotations

import pytest

from backend.images.cache import TaskImage
from backend.label_studio.payload import KeyPoint, Rectangle, Task
from backend.label_studio.pending.memory import PendingRegions, Saved, Subject
from tests.helpers.label_studio.requests import key_point, rectangle


def find_subject(task=7, label="Cat", config="", reference="a.png", **more):
    region = key_point(1, 2, value={"keypointlabels": [label]}, **more)
    return Subject.of("1.1", TaskImage(reference, task), config, KeyPoint.model_validate(region))


SUBJECT = find_subject()
NOTHING = Saved.of(Task(), [])


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pending(clock):
    return PendingRegions(clock)


def box(identifier="a"):
    return Rectangle.model_validate(rectangle(1, 2, 3, 4, id=identifier))


def drafted(*drafts):
    return Saved.of(Task.model_validate({"drafts": [{"id": number, "updated_at": at} for number, at in drafts]}), [])


def test_without_a_draft_a_box_is_pending_as_long_as_a_page_takes_to_save_one(pending, clock):
    pending.note(SUBJECT, [box()], NOTHING)
    clock.now += 7
    assert pending.find_pending_boxes(SUBJECT, NOTHING) == [box()]
    clock.now += 2
    assert pending.find_pending_boxes(SUBJECT, NOTHING) == []
    assert list(pending.find_boxes(SUBJECT, NOTHING)) == ["a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [([], [(1, "12:00")]), ([(1, "12:00")], [(1, "12:05")]), ([(1, "12:00")], [(2, "12:00")]), ([(1, "12:00")], [])],
)
def test_a_draft_that_was_saved_without_the_box_ends_it_at_once(pending, before, after):
    pending.note(SUBJECT, [box()], drafted(*before))
    assert pending.find_pending_boxes(SUBJECT, drafted(*before)) == [box()]
    assert pending.find_pending_boxes(SUBJECT, drafted(*after)) == []


def test_clicks_come_back_in_their_order_with_their_signs(pending):
    points = [KeyPoint.model_validate(key_point(place, 5, positive=place != 2, id=str(place))) for place in (3, 2, 1)]
    pending.note(SUBJECT, points, NOTHING)
    assert pending.find_pending_points(SUBJECT, NOTHING) == points
    assert pending.find_pending_boxes(SUBJECT, NOTHING) == []


def test_other_subjects_and_tasks_without_a_number_share_nothing(pending):
    unnumbered = find_subject(task=None)
    for subject in (SUBJECT, unnumbered):
        pending.note(subject, [box()], NOTHING)
    others = [{"task": 8}, {"label": "Dog"}, {"config": "<View/>"}, {"reference": "b.png"}, {"item_index": 1}]
    for other in (unnumbered, *(find_subject(**change) for change in others)):
        assert pending.find_boxes(other, NOTHING) == {}
    assert list(pending.find_boxes(find_subject(), NOTHING)) == ["a"]


@pytest.mark.parametrize("identifier", ["", "a" * 1000])
def test_a_region_without_an_id_or_with_a_very_long_one_is_not_remembered(pending, identifier):
    pending.note(SUBJECT, [box(identifier)], NOTHING)
    assert pending.find_boxes(SUBJECT, NOTHING) == {}


def test_of_one_label_the_newest_regions_are_kept(pending):
    pending.note(SUBJECT, [box(str(number)) for number in range(300)], NOTHING)
    assert list(pending.find_boxes(SUBJECT, NOTHING)) == [str(number) for number in range(44, 300)]


def test_of_many_tasks_the_oldest_are_forgotten(pending):
    subjects = {number: find_subject(task=number) for number in range(42)}
    for subject in subjects.values():
        pending.note(subject, [box(str(number)) for number in range(100)], NOTHING)
    kept = [number for number, subject in subjects.items() if pending.find_boxes(subject, NOTHING)]
    assert kept == list(range(2, 42))


@pytest.mark.parametrize("annotations", [None, "text", [1, None], [{"result": None}], [{"result": [1, {"id": [2]}]}]])
def test_annotations_of_any_form_are_read(annotations):
    assert Saved.of(Task.model_validate({"annotations": annotations}), []).finished == frozenset()
