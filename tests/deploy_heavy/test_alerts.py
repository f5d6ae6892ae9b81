"""Prometheus itself takes its configuration and the alerts; they fire when they should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
FETCHED = ROOT / "out" / "deploy-test" / "promtool"
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
NAMES = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]
PREDICT = 'job="m2n2", instance="a", path="/predict"'
# Alert -> series that set it off, one value a minute for half an hour.
BAD = {
    "M2N2Down": {'up{job="m2n2", instance="a"}': "0x30"},
    "M2N2NotReady": {'m2n2_ready{job="m2n2", instance="a"}': "0x30"},
    "M2N2ClicksFail": {
        f'm2n2_requests_total{{{PREDICT}, status="200"}}': "0+90x30",
        f'm2n2_requests_total{{{PREDICT}, status="503"}}': "0+10x30",
    },
    "M2N2ClicksRefused": {'m2n2_queue_refused_total{job="m2n2", instance="a"}': "0+1x30"},
    "M2N2ClicksSlow": {
        f'm2n2_request_seconds_bucket{{{PREDICT}, le="10.0"}}': "0+90x30",
        f'm2n2_request_seconds_bucket{{{PREDICT}, le="25.0"}}': "0+100x30",
        f'm2n2_request_seconds_bucket{{{PREDICT}, le="+Inf"}}': "0+100x30",
    },
    "M2N2CacheNotWritten": {'m2n2_disk_write_failures_total{job="m2n2", instance="a"}': "0+1x30"},
    "M2N2DeviceMemoryLow": {
        'm2n2_device_memory_used_bytes{job="m2n2", instance="a"}': "96x30",
        'm2n2_device_memory_bytes{job="m2n2", instance="a"}': "100x30",
    },
}
GOOD = {
    'up{job="m2n2", instance="a"}': "1x30",
    'm2n2_ready{job="m2n2", instance="a"}': "1x30",
    f'm2n2_requests_total{{{PREDICT}, status="200"}}': "0+99x30",
    f'm2n2_requests_total{{{PREDICT}, status="503"}}': "0+1x30",
    'm2n2_queue_refused_total{job="m2n2", instance="a"}': "3x30",
    f'm2n2_request_seconds_bucket{{{PREDICT}, le="10.0"}}': "0+99x30",
    f'm2n2_request_seconds_bucket{{{PREDICT}, le="+Inf"}}': "0+100x30",
    'm2n2_disk_write_failures_total{job="m2n2", instance="a"}': "2x30",
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
    assert f"{len(NAMES)} rules found" in output


@pytest.mark.parametrize("name", [*NAMES, None])
def test_an_alert_fires_for_what_it_is_named_after(tmp_path, name):
    """And none does for a server that is well."""
    series = {**GOOD, **BAD[name]} if name else GOOD
    rules = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
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
                        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}] if name else [],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test))
    status, output = promtool("test", "rules", file)
    assert status == 0, output
    assert name is None or "severity" in rules[name]["labels"]
