"""Prometheus itself takes its configuration and the alerts; they fire when they should."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from backend.app import create_app
from backend.engines.background import LoadedEngine
from backend.settings import load_settings
from m2n2_engine.types import EngineStatus

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
FETCHED = ROOT / "out" / "deploy-test" / "promtool"
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES if "alert" in rule]
SERVER = 'job="m2n2", instance="a"'
CLICKS = f'm2n2_clicks_total{{{SERVER}, platform="label_studio"'
SECONDS = f'm2n2_request_seconds_bucket{{{SERVER}, path="/predict", kind="click"'
BATCHES = f'm2n2_request_seconds_bucket{{{SERVER}, path="/predict", kind="batch"'
# Alert -> series that set it off, one value a minute for half an hour.
BAD = {
    "M2N2Down": {'up{job="m2n2", instance="a"}': "0x30"},
    "M2N2NotReady": {'m2n2_ready{job="m2n2", instance="a"}': "0x30"},
    "M2N2NoMasks": {f'{CLICKS}, outcome="mask"}}': "0+40x30", f'{CLICKS}, outcome="empty"}}': "0+60x30"},
    "M2N2TokenRefused": {f"m2n2_label_studio_token_ok{{{SERVER}}}": "0x30"},
    "M2N2LabelStudioUnreachable": {f"m2n2_label_studio_up{{{SERVER}}}": "0x30"},
    "M2N2ClicksFail": {f'{CLICKS}, outcome="mask"}}': "0+90x30", f'{CLICKS}, outcome="failed"}}': "0+10x30"},
    "M2N2ClicksRefused": {'m2n2_queue_refused_total{job="m2n2", instance="a"}': "0+1x30"},
    "M2N2ClicksSlow": {
        f'{SECONDS}, le="10.0"}}': "0+90x30",
        f'{SECONDS}, le="25.0"}}': "0+100x30",
        f'{SECONDS}, le="+Inf"}}': "0+100x30",
        # Batches are answered at once, and are no reason to wait.
        f'{BATCHES}, le="10.0"}}': "0+9000x30",
        f'{BATCHES}, le="+Inf"}}': "0+9000x30",
    },
    "M2N2CacheNotWritten": {'m2n2_disk_write_failures_total{job="m2n2", instance="a"}': "0+1x30"},
    "M2N2DeviceUnused": {f"m2n2_device_warning{{{SERVER}}}": "1x30"},
    "M2N2DeviceMemoryLow": {
        'm2n2_device_memory_used_bytes{job="m2n2", instance="a"}': "96x30",
        'm2n2_device_memory_bytes{job="m2n2", instance="a"}': "100x30",
    },
}
GOOD = {
    'up{job="m2n2", instance="a"}': "1x30",
    'm2n2_ready{job="m2n2", instance="a"}': "1x30",
    f'{CLICKS}, outcome="mask"}}': "0+92x30",
    f'{CLICKS}, outcome="empty"}}': "0+7x30",
    f'{CLICKS}, outcome="failed"}}': "0+1x30",
    f'{CLICKS}, outcome="overtaken"}}': "0+900x30",
    f"m2n2_label_studio_token_ok{{{SERVER}}}": "1x30",
    f"m2n2_label_studio_up{{{SERVER}}}": "1x30",
    'm2n2_queue_refused_total{job="m2n2", instance="a"}': "3x30",
    f'{SECONDS}, le="10.0"}}': "0+99x30",
    f'{SECONDS}, le="+Inf"}}': "0+100x30",
    'm2n2_disk_write_failures_total{job="m2n2", instance="a"}': "2x30",
    f"m2n2_device_warning{{{SERVER}}}": "0x30",
    'm2n2_device_memory_used_bytes{job="m2n2", instance="a"}': "90x30",
    'm2n2_device_memory_bytes{job="m2n2", instance="a"}': "100x30",
}


def promtool(*arguments):
    program = shutil.which("promtool") or FETCHED
    if not Path(program).is_file():
        pytest.fail("promtool is missing: tests/deploy_heavy/fetch_promtool.sh fetches Debian's")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def configuration(tmp_path):
    """prometheus.yml as the container sees it: the password's file is there, and the alerts beside it."""
    password = tmp_path / "password"
    password.touch()
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    text = (MONITORING / "prometheus.yml").read_text()
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/run/secrets/basic_auth_password", str(password)))
    return file


def test_prometheus_takes_its_configuration(configuration):
    status, output = promtool("check", "config", configuration)
    assert status == 0, output
    assert f"{len(RULES)} rules found" in output


def check_firing(folder, series, expected):
    """That after half an hour of these series, one value a minute, these alerts fire, and no others."""
    test = {
        "rule_files": [str(MONITORING / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": values} for key, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "30m",
                        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected],
                    }
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(test))
    status, output = promtool("test", "rules", file)
    assert status == 0, output


@pytest.mark.parametrize("name", [*NAMES, None])
def test_an_alert_fires_for_what_it_is_named_after(tmp_path, name):
    """And none does for a server that is well."""
    check_firing(tmp_path, {**GOOD, **BAD[name]} if name else GOOD, [name] if name else [])
    severities = {rule["alert"]: rule["labels"].get("severity") for rule in RULES if "alert" in rule}
    assert name is None or severities[name] in ("critical", "warning")


def test_a_quiet_server_sets_nothing_off(tmp_path):
    """Two clicks in half an hour, both on an image that cannot be fetched."""
    check_firing(tmp_path, {f'{CLICKS}, outcome="refused"}}': "0x10 1x10 2x10"}, [])


# --- half an hour of the likeliest outages, counted as the server itself counts them


class BrokenEngine:
    """Is ready, and fails with what nobody foresaw."""

    model_version = "broken"

    def status(self):
        return EngineStatus(self.model_version)

    def count_networks(self):
        return 1

    def open(self, *_arguments, **_options):
        raise ZeroDivisionError


@pytest.fixture
def label_studio():
    """Address of one that refuses every token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def client(label_studio):
    settings = load_settings({"LABEL_STUDIO_URL": label_studio, "LABEL_STUDIO_API_KEY": "0123abcd"})
    return create_app(settings, LoadedEngine(BrokenEngine())).test_client()


def read_samples(client):
    """Value of each sample of /metrics, by its name and labels as a rule test writes them."""
    client.get("/ready")
    for thread in threading.enumerate():
        if thread.name == "check-token":
            thread.join(30)
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = {"job": "m2n2", "instance": "a", **sample.labels}
            name = f"{sample.name}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}}"
            found[name] = family.type, sample.value
    return found


def record(client, click):
    """Series of half an hour in which each minute is as the one of five clicks."""
    before = read_samples(client)
    statuses = {click().status_code for _ in range(5)}
    series = {'up{job="m2n2", instance="a"}': "1x30"}
    for name, (kind, value) in read_samples(client).items():
        if name.startswith("m2n2_"):
            step = value - before.get(name, (kind, 0.0))[1]
            series[name] = f"{value:g}x30" if kind == "gauge" else f"0+{step:g}x30"
    return statuses, series


def test_half_an_hour_of_a_dead_token_raises_alerts(tmp_path, client, label_studio):
    body = json.loads((ROOT / "tests/data/label_studio/predict_interactive_1_points.json").read_text())["body"]
    body["tasks"][0]["data"]["image"] = f"{label_studio}/data/upload/1/a.png"
    statuses, series = record(client, lambda: client.post("/predict", json=body))
    assert statuses == {424}
    check_firing(tmp_path, series, ["M2N2ClicksFail", "M2N2NoMasks", "M2N2TokenRefused"])


def test_half_an_hour_of_failing_clicks_in_cvat_raises_alerts(tmp_path, client):
    encoded = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    body = {"image": base64.b64encode(encoded).decode(), "pos_points": [[20, 20]]}
    statuses, series = record(client, lambda: client.post("/cvat/", json=body))
    assert statuses == {500}
    token = {name: "1x30" for name in series if name.startswith("m2n2_label_studio_token_ok")}
    check_firing(tmp_path, {**series, **token}, ["M2N2ClicksFail", "M2N2NoMasks"])
