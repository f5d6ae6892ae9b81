from __future__ import annotations

import socket
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

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


# --- the token


WHO = "/api/current-user/whoami"


@pytest.fixture
def ask(make_client, server):
    """Look at a path until Label Studio has been asked for its token; the answer."""
    client = make_client({"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": "0123abcd"})

    def ask(path):
        client.get(path)
        for thread in threading.enumerate():
            if thread.name == "check-token":
                thread.join(30)
        return client.get(path)

    return ask


def read_token(response):
    """What /metrics says of Label Studio, by the end of the name."""
    start = "m2n2_label_studio_"
    families = text_string_to_metric_families(response.text)
    samples = [sample for family in families for sample in family.samples]
    return {sample.name.removeprefix(start): sample.value for sample in samples if sample.name.startswith(start)}


@pytest.mark.parametrize(
    ("status", "state", "told"),
    [
        (200, "accepted", {"up": 1, "token_ok": 1}),
        (401, "refused", {"up": 1, "token_ok": 0}),
        (500, "unreachable", {"up": 0}),
    ],
)
def test_the_token_is_told_and_changes_nothing_of_ready(ask, server, status, state, told):
    server.answer(WHO, b"{}", status=status)
    response = ask("/ready")
    assert (response.status_code, response.json["state"]) == (200, "ready")
    assert response.json["label_studio_token"]["state"] == state
    assert (response.json["label_studio_token"]["reason"] is None) == (state == "accepted")
    assert read_token(ask("/metrics")) == told


def test_probes_do_not_ask_label_studio_each_time(ask, server):
    server.answer(WHO, b"{}")
    for _ in range(20):
        ask("/ready")
        ask("/metrics")
    assert [path for _, path, _, _ in server.seen] == [WHO]


def test_probes_do_not_wait_for_label_studio(make_client):
    """One that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = make_client({"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": "0123abcd"})
        started = time.monotonic()
        for path in ("/ready", "/metrics") * 5:
            assert client.get(path).status_code == 200
        assert client.get("/ready").json["label_studio_token"] == {"state": "unknown", "reason": None}
        assert read_token(client.get("/metrics")) == {}
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("given", ["LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", None])
def test_nobody_is_asked_where_there_is_no_label_studio_or_no_token(make_client, server, given):
    values = {"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": "0123abcd"}
    # Threads of earlier tests may not have ended yet.
    before = set(threading.enumerate())
    client = make_client({given: values[given]} if given else {})
    assert client.get("/ready").json == {"state": "ready", "reason": None}
    assert read_token(client.get("/metrics")) == {}
    assert [thread for thread in set(threading.enumerate()) - before if thread.name == "check-token"] == []
    assert server.seen == []
