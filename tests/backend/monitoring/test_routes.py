from __future__ import annotations

import threading

import pytest

from backend.engines.background import BackgroundEngine
from m2n2_engine.errors import WeightsUnavailable
from m2n2_engine.types import NEVER, EngineStatus, State, Tier, TierStatus


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_tells_the_status(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.json == {
        "status": "UP",
        "model_version": "disc-1",
        "state": "ready",
        "reason": None,
        "backbone": "disc",
        "device": "cpu",
    }


def test_health_tells_every_tier_of_the_cache(client, segmenter):
    tier = TierStatus(images=1, bytes=2, budget_bytes=3, hits=4, misses=5, evictions=6)
    segmenter.told = EngineStatus(
        "m2n2-1", disk_write_failures=7, tiers=dict.fromkeys((Tier.DEVICE, Tier.HOST, Tier.DISK), tier)
    )
    facts = client.get("/health").json
    for name in ("session", "host", "disk"):
        told = [facts[f"{name}_{what}"] for what in ("images", "bytes", "budget_bytes", "hits", "misses", "evictions")]
        assert told == [1, 2, 3, 4, 5, 6]
    assert facts["disk_write_failures"] == 7


def test_an_engine_whose_device_is_lost_is_up_and_not_ready(client, segmenter):
    segmenter.told = EngineStatus("m2n2-1", State.FAILED, "the device cuda:0 does not answer any more")
    assert client.get("/health").status_code == 200
    response = client.get("/ready")
    assert (response.status_code, response.json["reason"]) == (503, "the device cuda:0 does not answer any more")


def test_a_loaded_engine_is_ready(client):
    response = client.get("/ready")
    assert (response.status_code, response.json) == (200, {"state": "ready", "reason": None})


def test_a_gpu_that_is_not_used_is_told_with_its_reason(client, segmenter):
    warning = "a GPU of NVIDIA is in this machine and not used: install a newer driver"
    segmenter.told = EngineStatus("m2n2-1", device="cpu", device_warning=warning)
    response = client.get("/ready")
    assert (response.status_code, response.json["device_warning"]) == (200, warning)
    assert client.get("/health").json["device_warning"] == warning


def test_health_and_setup_answer_and_ready_does_not_while_the_model_loads(make_client, segmenter):
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    background = BackgroundEngine(load)
    client = make_client(instead=background)
    assert client.get("/health").json == {"status": "UP", "model_version": "m2n2", "state": "loading", "reason": None}
    assert client.post("/setup", json={}).json == {"model_version": "m2n2"}
    response = client.get("/ready")
    assert (response.status_code, response.json) == (503, {"state": "loading", "reason": None})

    go.set()
    background.wait(NEVER)
    response = client.get("/ready")
    assert (response.status_code, response.json) == (200, {"state": "ready", "reason": None})
    assert client.post("/setup", json={}).json == {"model_version": "disc-1"}


def test_a_failed_start_is_up_and_not_ready(make_client):
    def load():
        raise WeightsUnavailable("no weights: set M2N2_WEIGHTS_FOLDER")

    background = BackgroundEngine(load)
    with pytest.raises(WeightsUnavailable):
        background.wait(NEVER)
    client = make_client(instead=background)
    assert client.get("/health").status_code == 200
    response = client.get("/ready")
    assert (response.status_code, response.json["state"]) == (503, "failed")
    assert response.json["reason"] == "no weights: set M2N2_WEIGHTS_FOLDER"
