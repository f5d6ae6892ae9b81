from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from backend.engines.background import BackgroundSegmenter
from m2n2_engine.errors import ConfigurationError, M2N2Error, NotReady, WeightsCorrupt, WeightsUnavailable
from m2n2_engine.types import Click, Level

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
        assert background.describe() == {"model_version": "m2n2", "state": "loading", "reason": None}
        go.set()
        thread.join()
    assert answers[0].mask.any()
    assert segmenter.asked == [((20, 30, 3), tuple(CLICKS))]
    assert background.describe() == {**segmenter.describe(), "state": "ready", "reason": None}
    assert "model ready after" in caplog.text


def test_nothing_is_found_until_the_model_is_loaded_and_nobody_waits_to_know(segmenter):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    segmenter.count_networks = lambda: 3
    background = BackgroundSegmenter(load)
    segmenter.prepare(IMAGE)
    assert background.find_level(IMAGE) is Level.NETWORK
    assert background.count_networks() == 1
    go.set()
    assert background.prepare(IMAGE) is Level.DEVICE
    assert background.find_level(IMAGE) is Level.DEVICE
    assert background.count_networks() == 3
    failed = BackgroundSegmenter(fail_with(WeightsUnavailable("the hub is down")))
    with pytest.raises(WeightsUnavailable):
        failed.prepare(IMAGE)
    assert failed.find_level(IMAGE) is Level.NETWORK


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
    assert background.describe() == {
        "model_version": "m2n2",
        "state": "failed",
        "reason": "sha256 differs: fetch the weights again",
    }
    assert "the model could not be loaded: sha256 differs" in caplog.text


def test_an_unexpected_failure_is_logged_in_full_and_told_in_short(caplog):
    background = BackgroundSegmenter(fail_with(RuntimeError("secret path")))
    with pytest.raises(M2N2Error, match="the server's log says why"):
        background.segment(IMAGE, CLICKS)
    assert background.describe()["state"] == "failed"
    assert "secret" not in str(background.describe())
    assert "secret path" in caplog.text


class Attempts:
    """Fails with each error in turn, then loads; the time is what a test says it is."""

    def __init__(self, segmenter, *errors):
        self.segmenter = segmenter
        self.errors = list(errors)
        self.count = 0
        self.now = 0.0

    def load(self):
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.segmenter

    def begin(self):
        return BackgroundSegmenter(self.load, retry_seconds=60, clock=lambda: self.now)


def test_a_failed_load_is_begun_again_by_a_request_after_a_minute(segmenter):
    attempts = Attempts(segmenter, WeightsUnavailable("the hub is down"), WeightsUnavailable("it still is"))
    background = attempts.begin()
    for now, message in [(0.0, "the hub is down"), (59.0, "the hub is down"), (60.0, "it still is")]:
        attempts.now = now
        with pytest.raises(WeightsUnavailable, match=message):
            background.segment(IMAGE, CLICKS)
    attempts.now = 119.0
    assert background.describe()["state"] == "failed"
    attempts.now = 120.0
    assert background.segment(IMAGE, CLICKS).mask.any()
    assert background.describe()["reason"] is None
    assert attempts.count == 3


def test_a_health_check_begins_a_failed_load_again_and_tells_the_last_reason(segmenter):
    attempts = Attempts(segmenter, WeightsUnavailable("the hub is down"))
    background = attempts.begin()
    with pytest.raises(WeightsUnavailable):
        background.segment(IMAGE, CLICKS)
    go = threading.Event()
    load = attempts.load
    background._load = lambda: (go.wait(), load())[1]
    attempts.now = 60.0
    assert background.describe() == {"model_version": "m2n2", "state": "loading", "reason": "the hub is down"}
    go.set()
    background.segment(IMAGE, CLICKS)
    assert background.describe()["state"] == "ready"


def test_a_setting_that_cannot_work_stays_failed(segmenter):
    attempts = Attempts(segmenter, ConfigurationError("no such backbone"))
    background = attempts.begin()
    for now in (0.0, 3600.0):
        attempts.now = now
        with pytest.raises(ConfigurationError):
            background.segment(IMAGE, CLICKS)
    assert attempts.count == 1
