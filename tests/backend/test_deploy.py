"""The files of deploy/ that belong to the backend work with it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from backend.label_studio.label_config import parse_label_config

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_gunicorn_is_told_the_settings(monkeypatch):
    monkeypatch.setenv("M2N2_PORT", "9191")
    monkeypatch.setenv("M2N2_SERVER_THREADS", "5")
    config = runpy.run_module("backend.http.gunicorn_conf")
    assert (config["bind"], config["threads"]) == (["127.0.0.1:9191"], 5)
    assert (config["workers"], config["preload_app"]) == (1, False)
    assert config["worker_class"] == "backend.http.worker.DrainingWorker"
    assert config["accesslog"] is None
    assert config["graceful_timeout"] >= 100


def test_gunicorn_listens_for_cvat_too(monkeypatch):
    monkeypatch.setenv("M2N2_CVAT_PORT", "8070")
    monkeypatch.setenv("M2N2_HOST", "0.0.0.0")
    assert runpy.run_module("backend.http.gunicorn_conf")["bind"] == ["0.0.0.0:9090", "0.0.0.0:8070"]


def test_gunicorn_does_not_start_with_a_wrong_setting(monkeypatch):
    monkeypatch.setenv("M2N2_PORT", "many")
    with pytest.raises(SystemExit, match="M2N2_PORT='many'"):
        runpy.run_module("backend.http.gunicorn_conf")


def test_the_labelling_configuration_has_a_brush_for_its_key_points():
    config = parse_label_config((DEPLOY / "labeling_config.xml").read_text())
    brush = config.find_answer_control("BrushLabels", "image", "Object")
    assert brush is not None
    assert brush.name == "brush"
    assert config.find_image("image").value == "$image"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("../Dockerfile", r"^    M2N2_HOST=0\.0\.0\.0 \\$"),
        ("defaults/m2n2.env", r"^M2N2_HOST=\$\{M2N2_HOST:-0\.0\.0\.0\}$"),
        ("kubernetes/base/configmap.yaml", r"^  M2N2_HOST: 0\.0\.0\.0$"),
        ("ray/rayservice.yaml", r"^            - name: M2N2_HOST\n              value: 0\.0\.0\.0$"),
        # Behind nginx on the same machine, and behind the function in the same container.
        ("systemd/m2n2@.service", r"^Environment=M2N2_HOST=127\.0\.0\.1$"),
        ("cvat/nuclio/function-gpu.yaml", r"^    - name: M2N2_HOST\n      value: 127\.0\.0\.1$"),
    ],
)
def test_what_is_deployed_says_where_the_server_listens(file, line):
    assert re.search(line, (DEPLOY / file).read_text(), re.MULTILINE)
