from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from backend.engines.background import BackgroundEngine
from backend.errors import NotReady
from m2n2_engine.errors import ConfigurationError, M2N2Error, WeightsCorrupt, WeightsUnavailable
from m2n2_engine.types import NEVER, Click, Deadline, EngineStatus, Picture, State

PICTURE = Picture.of(np.zeros((20, 30, 3), np.uint8))
CLICKS = [Click(10, 10)]
AT_ONCE = Deadline.after(0)


def fail_with(error):
    def load():
        raise error

    return load


def test_the_engine_is_waited_for(segmenter, caplog):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    with caplog.at_level(logging.INFO):
        source = BackgroundEngine(load)
        found = []
        thread = threading.Thread(target=lambda: found.append(source.wait(NEVER)))
        thread.start()
        assert source.status() == EngineStatus("m2n2", State.LOADING)
        go.set()
        thread.join()
        # It tells of the engine after it has given it.
        for loading in [one for one in threading.enumerate() if one.name == "load-model"]:
            loading.join()
    assert found == [segmenter]
    assert source.status() == segmenter.status()
    assert "model ready after" in caplog.text
    assert "model_version disc-1, backbone disc, device cpu" in caplog.text


def test_nobody_waits_to_know_what_can_be_said_before(segmenter):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    source = BackgroundEngine(load)
    assert source.model_version == "m2n2"
    go.set()
    source.wait(NEVER)
    assert source.model_version == "disc-1"


def test_a_model_that_takes_too_long_is_not_waited_for(segmenter):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    source = BackgroundEngine(load)
    with pytest.raises(NotReady, match="still loading"):
        source.wait(AT_ONCE)
    go.set()


def test_a_failure_is_raised_by_every_call_and_logged_with_its_reason(caplog):
    original = WeightsCorrupt("sha256 differs: fetch the weights again")
    source = BackgroundEngine(fail_with(original))
    for _ in range(2):
        with pytest.raises(WeightsCorrupt, match="sha256 differs") as caught:
            source.wait(NEVER)
        assert caught.value is not original
    assert source.status() == EngineStatus("m2n2", State.FAILED, "sha256 differs: fetch the weights again")
    assert source.model_version == "m2n2"
    assert "the model could not be loaded: sha256 differs" in caplog.text


def test_an_unexpected_failure_is_logged_in_full_and_told_in_short(caplog):
    source = BackgroundEngine(fail_with(RuntimeError("secret path")))
    with pytest.raises(M2N2Error, match="the server's log says why"):
        source.wait(NEVER)
    assert source.status().state is State.FAILED
    assert "secret" not in str(source.status())
    assert "secret path" in caplog.text


class Attempts:
    """Fails with each error in turn, then loads when it may; the time is what a test says it is."""

    def __init__(self, segmenter, *errors):
        self.segmenter = segmenter
        self.errors = list(errors)
        self.may_load = threading.Event()
        self.may_load.set()
        self.count = 0
        self.now = 0.0

    def load(self):
        self.count += 1
        assert self.may_load.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        return self.segmenter

    def begin(self):
        return BackgroundEngine(self.load, retry_seconds=60, clock=lambda: self.now)


def test_a_failed_load_is_begun_again_by_a_request_after_a_minute(segmenter):
    attempts = Attempts(segmenter, WeightsUnavailable("the hub is down"), WeightsUnavailable("it still is"))
    source = attempts.begin()
    for now, message in [(0.0, "the hub is down"), (59.0, "the hub is down"), (60.0, "it still is")]:
        attempts.now = now
        with pytest.raises(WeightsUnavailable, match=message):
            source.wait(NEVER)
    attempts.now = 119.0
    assert source.status().state is State.FAILED
    attempts.now = 120.0
    assert source.wait(NEVER).segment(PICTURE, CLICKS).mask.any()
    assert source.status().reason is None
    assert attempts.count == 3


def test_a_health_check_begins_a_failed_load_again_and_tells_the_last_reason(segmenter):
    attempts = Attempts(segmenter, WeightsUnavailable("the hub is down"))
    source = attempts.begin()
    with pytest.raises(WeightsUnavailable):
        source.wait(NEVER)
    attempts.may_load.clear()
    attempts.now = 60.0
    assert source.status() == EngineStatus("m2n2", State.LOADING, "the hub is down")
    attempts.may_load.set()
    source.wait(NEVER)
    assert source.status().is_ready


@pytest.mark.parametrize(
    ("error", "is_final"), [(ConfigurationError("no such backbone"), True), (M2N2Error("x"), False)]
)
def test_who_started_it_is_told_of_a_setting_that_cannot_work(error, is_final):
    told = threading.Event()
    source = BackgroundEngine(fail_with(error), end=told.set)
    with pytest.raises(M2N2Error):
        source.wait(NEVER)
    assert told.wait(10 if is_final else 0) is is_final


def test_a_setting_that_cannot_work_stays_failed(segmenter):
    attempts = Attempts(segmenter, ConfigurationError("no such backbone"))
    source = attempts.begin()
    for now in (0.0, 3600.0):
        attempts.now = now
        with pytest.raises(ConfigurationError):
            source.wait(NEVER)
    assert attempts.count == 1
