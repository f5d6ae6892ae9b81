"""What clicks, keys and answers change, and what the status line says of it."""

from __future__ import annotations

import numpy as np

from m2n2_engine.tools.demo.state import ACTIONS, HELP, Action, State
from m2n2_engine.types import Click, Segmentation, Timings

OBJECT, OTHER, BACKGROUND = Click(3, 4), Click(5, 6), Click(1, 2, positive=False)


def make_answer(share: float = 0.5) -> Segmentation:
    mask = np.zeros((10, 10), bool)
    mask.flat[: round(share * 100)] = True
    return Segmentation(mask, 0.5, Timings(1.5, 0.25))


def test_the_status_follows_an_image_to_its_mask():
    state = State()
    assert state.status == "preparing the image"
    state = state.add(OBJECT)
    assert state.status == "preparing the image; 1 click waiting"
    state = state.prepare(2.0)
    assert state.status == "computing 1 click"
    state = state.answer((OBJECT,), make_answer())
    assert state.status == "1 click: 50.0% of the image in 0.250 s; prepared in 2.00 s"
    assert State().prepare(0.0).status == "prepared in 0.00 s; click on the object"


def test_an_answer_to_other_clicks_is_dropped():
    state = State().prepare(1.0).add(OBJECT).answer((OBJECT,), make_answer()).add(OTHER)
    shown = state.segmentation
    assert shown is not None
    assert not state.is_answered
    assert state.status == "computing 2 clicks"
    assert state.answer((OBJECT,), make_answer(0.1)) is state
    assert state.fail((OBJECT,), "no memory") is state
    assert state.segmentation is shown


def test_undo_takes_the_newest_click_back():
    state = State().prepare(1.0).add(OBJECT).add(BACKGROUND).answer((OBJECT, BACKGROUND), make_answer())
    state = state.undo()
    assert state.clicks == (OBJECT,)
    assert state.segmentation is not None  # until the click that is left is answered
    assert not state.is_answered
    state = state.undo()
    assert (state.clicks, state.segmentation, state.is_answered, state.prepare_seconds) == ((), None, True, 1.0)
    assert state.undo().clicks == ()


def test_reset_keeps_the_image_alone():
    state = State().prepare(1.0).add(OBJECT).answer((OBJECT,), make_answer()).tell("saved").reset()
    assert (state.clicks, state.segmentation, state.is_answered, state.notice) == ((), None, True, "")
    assert state.prepare_seconds == 1.0


def test_clicks_that_fail_are_not_asked_again():
    state = State().prepare(1.0).add(OBJECT).answer((OBJECT,), make_answer()).add(OTHER)
    state = state.fail((OBJECT, OTHER), "no memory left")
    assert (state.is_answered, state.segmentation, state.status) == (True, None, "no memory left")
    assert state.add(BACKGROUND).status == "computing 3 clicks"


def test_an_image_that_could_not_be_prepared_may_be_later():
    state = State().tell("no memory left").add(OBJECT).answer((OBJECT,), make_answer())
    assert state.prepare_seconds == 1.5


def test_a_notice_is_read_until_something_changes():
    state = State().prepare(1.0).tell("saved")
    assert state.status == "saved"
    assert state.add(BACKGROUND).status == "computing 1 click"


def test_background_alone_has_no_object():
    state = State().prepare(1.0).add(BACKGROUND).answer((BACKGROUND,), make_answer(0))
    assert state.status == "1 click, none on the object"


def test_every_action_can_be_asked_for_and_is_explained():
    assert set(ACTIONS.values()) == set(Action)
    keys = {line.split(":")[0].split(" ")[0].lower() for line in HELP}
    assert keys == {"i", "o", "drag", "n", "u", "r", "s", "esc"}
    assert keys - {"esc"} < set(ACTIONS)
