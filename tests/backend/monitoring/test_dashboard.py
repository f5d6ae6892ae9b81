"""Grafana's dashboard and Prometheus' alerts ask only for metrics that /metrics has."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from m2n2_engine.types import EngineStatus, Tier, TierStatus

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "m2n2.json").read_text())
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
# Strings may hold anything; what stands before a bracket is a function; what stands inside of by (...) is a label.
_STRINGS = re.compile(r'"[^"]*"')
_NOISE = re.compile(r'"[^"]*"|\b(?:by|without)\s*\([^)]*\)|\[[^]]*\]')
_NAME = re.compile(r"(?<![\w$])([a-z_:][\w:]*)\b(?!\s*\()", re.IGNORECASE)
_LABELS = re.compile(r"\{[^}]*\}")
_KEYWORDS = {"or", "and", "unless"}
# Prometheus makes it itself, of every target.
_OWN = {"up"}
RECORDED = {rule["record"] for group in ALERTS["groups"] for rule in group["rules"] if "record" in rule}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def find_metrics(query):
    """Names of the metrics that a PromQL query reads."""
    bare = _LABELS.sub("", _NOISE.sub("", query))
    return set(_NAME.findall(bare)) - _KEYWORDS


def find_labels(query):
    """Metric and the labels that are matched right behind it, for each place where some are."""
    found = re.findall(r"([a-z_:][\w:]*)\{([^}]*)\}", _STRINGS.sub("", query))
    return [(metric, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) for metric, matchers in found]


QUERIES = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]),
    *(variable["query"].removeprefix("label_values(").split(",")[0] for variable in DASHBOARD["templating"]["list"]),
]


@pytest.fixture
def exported(make_client, segmenter, server):
    """Every name that a sample of /metrics can have -> its family, of a segmenter that tells all that there is."""
    tier = TierStatus(images=1, bytes=1, budget_bytes=1, hits=1, misses=1, evictions=1)
    tiers = dict.fromkeys((Tier.DEVICE, Tier.HOST, Tier.DISK), tier)
    segmenter.told = EngineStatus(
        "disc-1",
        device="cpu",
        replicas=1,
        device_memory_used_bytes=1,
        device_memory_bytes=1,
        disk_write_failures=0,
        tiers=tiers,
    )
    server.answer("/api/current-user/whoami", b"{}")
    client = make_client({"LABEL_STUDIO_URL": server.url, "LABEL_STUDIO_API_KEY": "0123abcd"})
    client.get("/no/such/path")
    client.get("/ready")
    for thread in threading.enumerate():
        if thread.name == "check-token":
            thread.join(30)
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    return {family.name + suffix: family for family in families for suffix in _SUFFIXES[family.type]}


@pytest.mark.parametrize(
    ("query", "metrics"),
    [
        ('sum by (le) (rate(a_total{path="/x", b=~"c_d"}[5m])) / b_total > 0.5', {"a_total", "b_total"}),
        ("histogram_quantile(0.95, sum by (stage, le) (rate(c_bucket{}[$__rate_interval])))", {"c_bucket"}),
        ("1 - increase(a[$__range]) or vector(0)", {"a"}),
    ],
)
def test_names_are_found_in_queries(query, metrics):
    assert find_metrics(query) == metrics


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_exported(exported, query):
    metrics = find_metrics(query)
    assert metrics
    assert metrics - set(exported) - _OWN - RECORDED == set()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_matches_labels_that_are_exported(exported, query):
    of_prometheus = {"instance", "job"}
    for metric, labels in find_labels(query):
        # A family without samples does not tell its labels.
        samples = exported[metric].samples if metric in exported else []
        known = {label for sample in samples for label in sample.labels} | of_prometheus
        assert not samples or set(labels) <= known, metric


def test_what_operators_ask_first_is_on_the_dashboard():
    shown = {
        metric
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
        for metric in find_metrics(target["expr"])
    }
    assert {
        "m2n2_ready",
        "m2n2_stage_seconds_bucket",
        "m2n2_cache_hits_total",
        "m2n2_queue_waiting",
        "m2n2_device_memory_used_bytes",
        "m2n2_errors_total",
        "m2n2_clicks_total",
        "m2n2_label_studio_token_ok",
        "m2n2_build_info",
    } <= shown


def test_the_dashboard_lies_where_grafana_is_told():
    provider = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/m2n2.yml").read_text())["providers"][0]
    (source,) = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    compose = (MONITORING.parent / "docker-compose.yml").read_text()
    assert f"./monitoring/grafana/dashboards:{provider['options']['path']}:ro" in compose
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert used == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
