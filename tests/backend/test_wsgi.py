from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import types

import pytest

from backend import wsgi
from backend.engines.ray_segmenter import RaySegmenter
from backend.settings import load_settings
from m2n2_engine.errors import ConfigurationError


@pytest.fixture(autouse=True)
def levels():
    """Leaves the levels of our loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("backend", "m2n2_engine")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def engine_module(monkeypatch, segmenter):
    """Stands for m2n2_engine.engine: remembers the configurations that an engine was loaded with."""
    module = types.ModuleType("m2n2_engine.engine")
    module.configs = []
    segmenter.is_warm = False

    def warm_up():
        segmenter.is_warm = True

    def load_engine(config):
        module.configs.append(config)
        return segmenter

    segmenter.warm_up = warm_up
    module.load_engine = load_engine
    monkeypatch.setitem(sys.modules, "m2n2_engine.engine", module)
    return module


def test_the_environment_becomes_an_application(monkeypatch, engine_module, segmenter, recorded, make_png):
    monkeypatch.setenv("M2N2_BACKBONE", "tiny")
    monkeypatch.setenv("M2N2_LOG_LEVEL", "debug")
    client = wsgi.create().test_client()
    body = recorded("predict_interactive_1_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    assert client.post("/predict", json=body).json["results"][0]["result"]
    assert segmenter.is_warm
    assert logging.getLogger("backend.app").getEffectiveLevel() == logging.DEBUG
    assert client.get("/ready").status_code == 200
    assert [config.backbone for config in engine_module.configs] == ["tiny"]


def test_a_wrong_setting_ends_the_process_with_one_line(monkeypatch, caplog):
    monkeypatch.setenv("M2N2_PORT", "many")
    with pytest.raises(SystemExit, match="4"):
        wsgi.create()
    (record,) = caplog.records
    assert record.getMessage().startswith("M2N2_PORT='many' cannot be used: ")


def test_nothing_of_ray_is_imported_where_the_engine_is_local():
    program = "import sys; from backend import settings; from backend.engines import load"
    program += "; load.choose_load(settings.load_settings()); print(*sys.modules)"
    environ = {**os.environ, "M2N2_ENGINE": "local"}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert not {"ray", "backend.engines.ray_cluster", "backend.engines.ray_segmenter"} & set(ended.stdout.split())


def test_without_ray_the_engine_of_a_cluster_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "backend.engines.ray_cluster", raising=False)
    load = wsgi.choose_load(load_settings({"M2N2_ENGINE": "ray"}))
    with pytest.raises(ConfigurationError, match=r"install the extra `ray`, as docs/operate/ray\.md says"):
        load()


def test_the_engine_of_a_cluster_is_that_of_its_address_and_name(monkeypatch, segmenter):
    joined = []
    module = types.ModuleType("backend.engines.ray_cluster")
    module.connect = lambda *where: joined.append(where) or segmenter
    monkeypatch.setitem(sys.modules, "backend.engines.ray_cluster", module)
    settings = load_settings({"M2N2_ENGINE": "ray", "M2N2_RAY_ADDRESS": "10.0.0.1:6379", "M2N2_RAY_APP": "masks"})
    assert isinstance(wsgi.choose_load(settings)(), RaySegmenter)
    assert joined == [("10.0.0.1:6379", "masks")]
