from __future__ import annotations

import base64
import dataclasses
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.engines.background import BackgroundEngine
from m2n2_engine import __version__
from m2n2_engine.errors import OutOfMemory
from m2n2_engine.types import EngineStatus, State, Tier, TierStatus

FULL = EngineStatus(
    "disc-1",
    device="cuda:0",
    replicas=2,
    device_memory_used_bytes=7,
    device_memory_bytes=9,
    disk_write_failures=12,
    tiers={
        Tier.DEVICE: TierStatus(images=2, bytes=5, budget_bytes=6, hits=3, misses=4, evictions=1),
        Tier.HOST: TierStatus(images=0, bytes=0, budget_bytes=0, hits=8, misses=0, evictions=0),
        Tier.DISK: TierStatus(images=0, bytes=0, budget_bytes=10, hits=0, misses=11, evictions=0),
    },
)


@pytest.fixture
def click(recorded, make_png):
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    return body


def read(client):
    """Value by name and labels in alphabetical order, such as ``m2n2_requests_total{/health,200}``."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    return {
        sample.name + ("{" + ",".join(sample.labels.values()) + "}" if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_path_and_status(client):
    for path in ("/health", "/health", "/no/such/path", "/another/one"):
        client.get(path)
    client.get("/predict")
    values = read(client)
    assert values["m2n2_requests_total{/health,200}"] == 2
    assert values["m2n2_requests_total{none,404}"] == 2
    assert values["m2n2_requests_total{none,405}"] == 1
    assert values["m2n2_request_seconds_count{other,/health}"] == 2


def test_errors_are_counted_by_kind(client, segmenter, click):
    client.get("/nothing")
    client.post("/predict", data=b"{")
    segmenter.error = OutOfMemory("no room")
    client.post("/predict", json=click)
    values = read(client)
    for kind in ("NotFound", "InvalidRequest", "OutOfMemory"):
        assert values[f"m2n2_errors_total{{{kind}}}"] == 1


def test_stages_are_measured(client, click):
    client.post("/predict", json=click)
    values = read(client)
    for stage in ("fetch", "wait", "attention", "clicks", "encode"):
        assert values[f"m2n2_stage_seconds_count{{{stage}}}"] == 1
    # As the engine says.
    assert values["m2n2_stage_seconds_sum{clicks}"] == 0.125


def count_clicks(client):
    """Outcome of each kind of click that there was -> how many."""
    values = read(client)
    start = "m2n2_clicks_total{"
    return {name.removeprefix(start)[:-1]: value for name, value in values.items() if name.startswith(start) and value}


def test_batches_are_told_apart_from_clicks(client, click, recorded):
    client.post("/predict", json=recorded("predict_batch_2_tasks"))
    client.post("/predict", json=recorded("predict_batch_2_tasks"))
    client.post("/predict", json=click)
    values = read(client)
    assert values["m2n2_request_seconds_count{batch,/predict}"] == 2
    assert values["m2n2_request_seconds_count{click,/predict}"] == 1
    assert count_clicks(client) == {"mask,label_studio": 1}


def test_clicks_are_counted_from_zero_on(client):
    """Prometheus sees no increase where a series begins with its first click."""
    names = [f"m2n2_clicks_total{{failed,{platform}}}" for platform in ("label_studio", "cvat")]
    assert [read(client)[name] for name in names] == [0, 0]


def test_clicks_of_label_studio_are_counted_by_what_came_of_them(make_client, segmenter, click):
    client = make_client({"M2N2_BASIC_AUTH_USER": "u", "M2N2_BASIC_AUTH_PASSWORD": "p"})
    client.post("/predict", json=click)
    authorised = {"auth": ("u", "p")}
    client.post("/predict", json=click, **authorised)
    client.post("/predict", data=b"{", **authorised)
    segmenter.error = OutOfMemory("no room")
    client.post("/predict", json=click, **authorised)
    segmenter.error = ZeroDivisionError()
    client.post("/predict", json=click, **authorised)
    segmenter.error, segmenter.radius_pixels = None, 0.0
    client.post("/predict", json=click, **authorised)
    click["tasks"][0]["data"]["image"] = "http://127.0.0.1:9/image.png"
    client.post("/predict", json=click, **authorised)
    client.get("/predict", **authorised)
    client.options("/predict", **authorised)
    client.environ_base["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(b"u:p").decode()
    assert count_clicks(client) == {
        "mask,label_studio": 1,
        "empty,label_studio": 1,
        # No credentials, no JSON, a host that is not allowed.
        "refused,label_studio": 3,
        "failed,label_studio": 2,
    }


@pytest.mark.parametrize("path", ["/cvat/", "/cvat/api/function_invocations"])
def test_clicks_of_cvat_are_counted_by_what_came_of_them(client, segmenter, make_png, path):
    body = {"image": base64.b64encode(make_png()).decode(), "pos_points": [[300, 200]]}
    headers = {"x-nuclio-function-name": "m2n2"}
    client.post(path, json=body, headers=headers)
    client.post(path, json={**body, "pos_points": "none"}, headers=headers)
    segmenter.error = ZeroDivisionError()
    client.post(path, json=body, headers=headers)
    segmenter.error, segmenter.radius_pixels = None, 0.0
    client.post(path, json=body, headers=headers)
    client.get("/cvat/api/functions")
    assert count_clicks(client) == {"mask,cvat": 1, "refused,cvat": 1, "failed,cvat": 1, "empty,cvat": 1}
    assert read(client)[f"m2n2_request_seconds_count{{click,{path}}}"] == 4


def test_what_runs_is_told(client, segmenter):
    segmenter.told = dataclasses.replace(FULL, backbone="dinov2-small", preset="consensus")
    assert read(client)[f"m2n2_build_info{{dinov2-small,cuda:0,consensus,{__version__}}}"] == 1


def test_what_runs_is_told_while_nothing_does(make_client, segmenter):
    """Of an engine that is still loading, only the version is known."""
    go = threading.Event()

    def load():
        go.wait()
        return segmenter

    client = make_client(instead=BackgroundEngine(load))
    assert read(client)[f"m2n2_build_info{{,,,{__version__}}}"] == 1
    go.set()


def test_the_queue_and_what_the_engine_says_are_told(client, segmenter):
    segmenter.told = FULL
    values = read(client)
    expected = {
        "m2n2_ready": 1,
        "m2n2_cache_images{device}": 2,
        "m2n2_cache_images{host}": 0,
        "m2n2_cache_bytes{device}": 5,
        "m2n2_cache_budget_bytes{device}": 6,
        "m2n2_cache_budget_bytes{disk}": 10,
        "m2n2_cache_hits_total{device}": 3,
        "m2n2_cache_hits_total{host}": 8,
        "m2n2_cache_misses_total{device}": 4,
        "m2n2_cache_misses_total{disk}": 11,
        "m2n2_cache_evictions_total{device}": 1,
        "m2n2_disk_write_failures_total": 12,
        "m2n2_replicas": 2,
        "m2n2_device_memory_used_bytes": 7,
        "m2n2_device_memory_bytes": 9,
        "m2n2_queue_places": 28,
        "m2n2_queue_admitted": 0,
        "m2n2_queue_unprepared": 0,
        "m2n2_queue_preparing": 0,
        "m2n2_queue_waiting": 0,
        "m2n2_queue_computing": 0,
        "m2n2_queue_refused_total": 0,
        "m2n2_queue_obsolete_total": 0,
        "m2n2_preparation_waiting": 0,
        "m2n2_preparation_failures_total": 0,
        "m2n2_preparation_dropped_total": 0,
        "m2n2_preparation_found_total{network}": 0,
    }
    assert {name: values[name] for name in expected} == expected
    assert values["process_resident_memory_bytes"] > 0


def test_nothing_is_announced_without_a_value(client, segmenter, click):
    client.post("/predict", json=click)
    client.post("/predict", data=b"{")
    for told in (segmenter.told, FULL):
        segmenter.told = told
        families = list(text_string_to_metric_families(client.get("/metrics").text))
        assert [family.name for family in families if not family.samples] == []


def test_the_cache_of_decoded_images_is_told(make_client, click, make_png):
    client = make_client({"M2N2_IMAGE_CACHE_MIB": "1"})
    client.post("/predict", json=click)
    client.post("/predict", json=click)
    values = read(client)
    expected = {"kept": 1, "bytes": 640 * 480 * 3, "budget_bytes": 1024 * 1024}
    assert {name: values[f"m2n2_images_{name}"] for name in expected} == expected
    assert (values["m2n2_images_hits_total"], values["m2n2_images_misses_total"]) == (1, 1)

    other = base64.b64encode(make_png(600, 480)).decode()
    click["tasks"][0]["data"]["image"] = f"data:image/png;base64,{other}"
    client.post("/predict", json=click)
    values = read(client)
    assert (values["m2n2_images_evictions_total"], values["m2n2_images_bytes"]) == (1, 600 * 480 * 3)


def test_what_is_not_known_is_left_out(client):
    values = read(client)
    assert not any(name.startswith(("m2n2_device_memory", "m2n2_cache", "m2n2_disk")) for name in values)


def test_each_application_counts_for_itself(make_client):
    one, other = make_client(), make_client()
    one.get("/health")
    assert "m2n2_requests_total{/health,200}" not in read(other)


def test_a_gpu_that_is_not_used_is_told(client, segmenter):
    segmenter.told = EngineStatus("m2n2-1", device="cpu")
    assert read(client)["m2n2_device_warning"] == 0
    segmenter.told = EngineStatus("m2n2-1", device="cpu", device_warning="no driver of NVIDIA is loaded")
    assert read(client)["m2n2_device_warning"] == 1
    segmenter.told = EngineStatus("m2n2-1", State.LOADING)
    assert "m2n2_device_warning" not in read(client)
