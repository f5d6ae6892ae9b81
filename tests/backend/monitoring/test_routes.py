from __future__ import annotations

import threading

import numpy as np
import pytest

from backend.engines.background import BackgroundSegmenter
from m2n2_engine.errors import WeightsUnavailable
from m2n2_engine.types import Click


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_tells_the_facts(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.json == {"status": "UP", "model_version": "disc-1", "backbone": "disc", "device": "cpu"}


def test_a_segmenter_without_a_state_is_ready(client):
    assert client.get("/ready").status_code == 200


def test_health_and_setup_answer_and_ready_does_not_while_the_model_loads(make_client, segmenter):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    background = BackgroundSegmenter(load)
    client = make_client(instead=background)
    assert client.get("/health").json == {"status": "UP", "model_version": "m2n2", "state": "loading", "reason": None}
    assert client.post("/setup", json={}).json == {"model_version": "m2n2"}
    response = client.get("/ready")
    assert (response.status_code, response.json) == (503, {"state": "loading", "reason": None})

    go.set()
    background.segment(np.zeros((4, 4, 3), np.uint8), [Click(1, 1)])
    response = client.get("/ready")
    assert (response.status_code, response.json) == (200, {"state": "ready", "reason": None})
    assert client.post("/setup", json={}).json == {"model_version": "disc-1"}


def test_a_failed_start_is_up_and_not_ready(make_client):
    def load():
        raise WeightsUnavailable("no weights: set M2N2_WEIGHTS_FOLDER")

    background = BackgroundSegmenter(load)
    with pytest.raises(WeightsUnavailable):
        background.segment(np.zeros((4, 4, 3), np.uint8), [Click(1, 1)])
    client = make_client(instead=background)
    assert client.get("/health").status_code == 200
    response = client.get("/ready")
    assert (response.status_code, response.json["state"]) == (503, "failed")
    assert response.json["reason"] == "no weights: set M2N2_WEIGHTS_FOLDER"
