from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from backend.startup import BackgroundSegmenter
from m2n2_engine.errors import M2N2Error, NotReady, WeightsCorrupt
from m2n2_engine.types import Click

IMAGE = np.zeros((20, 30, 3), np.uint8)
CLICKS = [Click(10, 10)]


def fail_with(error):
    def load():
        raise error

    return load


def test_segment_waits_for_the_model(segmenter, caplog):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    with caplog.at_level(logging.INFO):
        background = BackgroundSegmenter(load)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(background.segment(IMAGE, CLICKS)))
        thread.start()
        assert (background.state, background.reason) == ("loading", None)
        go.set()
        thread.join()
    assert answers[0].mask.any()
    assert segmenter.asked == [((20, 30, 3), tuple(CLICKS))]
    assert (background.state, background.reason) == ("ready", None)
    assert background.describe() == {**segmenter.describe(), "state": "ready", "reason": None}
    assert "model ready after" in caplog.text


def test_segment_gives_up_where_the_model_takes_too_long(segmenter):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    background = BackgroundSegmenter(load, longest_wait_seconds=0)
    with pytest.raises(NotReady, match="still loading"):
        background.segment(IMAGE, CLICKS)
    go.set()


def test_a_failure_is_raised_by_every_call_and_logged_with_its_reason(caplog):
    original = WeightsCorrupt("sha256 differs: fetch the weights again")
    background = BackgroundSegmenter(fail_with(original))
    for _ in range(2):
        with pytest.raises(WeightsCorrupt, match="sha256 differs") as caught:
            background.segment(IMAGE, CLICKS)
        assert caught.value is not original
    assert (background.state, background.reason) == ("failed", "sha256 differs: fetch the weights again")
    assert "the model could not be loaded: sha256 differs" in caplog.text


def test_an_unexpected_failure_is_logged_in_full_and_told_in_short(caplog):
    background = BackgroundSegmenter(fail_with(RuntimeError("secret path")))
    with pytest.raises(M2N2Error, match="the server's log says why"):
        background.segment(IMAGE, CLICKS)
    assert background.state == "failed"
    assert "secret" not in str(background.describe())
    assert "secret path" in caplog.text
