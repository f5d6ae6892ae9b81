"""The model class under fakes of both generations of label-studio-ml's base class."""

from __future__ import annotations

import base64
import itertools
import os
import subprocess
import sys
import types
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest

from backend.label_studio import ml_model
from backend.label_studio.brush_rle import decode
from backend.settings import load_settings
from m2n2_engine.errors import ConfigurationError, InvalidImage
from tests.helpers.label_studio_ml_2.label_studio_ml.model import LabelStudioMLBase as BaseOfVersion2

PROJECTS = itertools.count(1)
"""2.0 keeps what it knows of a project."""


class BaseOfVersion1(ABC):
    """As 1.0.9 has it: made once, with keywords of any name."""

    def __init__(self, label_config=None, train_output=None, **kwargs):
        self.label_config = label_config

    @abstractmethod
    def predict(self, tasks, **kwargs):
        pass


@pytest.fixture(params=[BaseOfVersion1, BaseOfVersion2])
def base(request):
    return request.param


@pytest.fixture
def model_class(base, monkeypatch, segmenter):
    """The model on that base class, with the disc for an engine."""
    package, module = types.ModuleType("label_studio_ml"), types.ModuleType("label_studio_ml.model")
    module.LabelStudioMLBase = base
    monkeypatch.setitem(sys.modules, "label_studio_ml", package)
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", module)
    predictor = ml_model.Predictor(load_settings({}), segmenter)
    return ml_model.create_model_class(lambda: predictor)


@pytest.fixture
def interactive(recorded, make_png):
    body = recorded("predict_interactive_2_points")
    body["tasks"][0]["data"]["image"] = "data:image/png;base64," + base64.b64encode(make_png()).decode()
    return body


def predict(model_class, body):
    # Both servers hand over everything in params by name.
    return model_class(project_id=str(next(PROJECTS)), label_config=body["label_config"]).predict(
        body["tasks"], **body["params"]
    )


def test_a_click_answers_a_region(model_class, interactive, segmenter):
    (prediction,) = predict(model_class, interactive)
    (region,) = prediction["result"]
    assert (prediction["score"], prediction["model_version"]) == (0.75, "disc-1")
    assert decode(region["value"]["rle"], (480, 640)).sum() == pytest.approx(np.pi * 40**2, rel=0.01)
    assert len(segmenter.asked[0][1]) == 2


def test_a_batch_has_one_empty_list_a_task(model_class, interactive, segmenter):
    assert model_class().predict([{"id": 1}, {"id": 2}], context=None, login=None) == [[], []]
    assert segmenter.asked == []


@pytest.mark.parametrize("change", ["config", "image", "context", "engine", "negatives"])
def test_what_goes_wrong_is_an_empty_result_and_a_line_in_the_log(model_class, interactive, segmenter, caplog, change):
    caplog.set_level("INFO")
    if change == "config":
        interactive["label_config"] = None
    elif change == "image":
        interactive["tasks"][0]["data"]["image"] = "file:///etc/passwd"
    elif change == "context":
        interactive["params"]["context"] = {"result": "none"}
    elif change == "negatives":
        interactive["params"]["context"]["result"] = []
    else:
        segmenter.error = InvalidImage("no image")
    assert predict(model_class, interactive) == [{"result": [], "score": 0.0, "model_version": "disc-1"}]
    assert "empty result: " in caplog.text


def test_the_version_is_told_where_it_is_asked_for(model_class, base):
    model = model_class(label_config="<View/>")
    if base is BaseOfVersion2:
        assert model.model_version.startswith("m2n2-")
    else:
        assert not hasattr(model, "model_version")


def test_the_class_can_be_handed_to_another_process(tmp_path):
    package = tmp_path / "label_studio_ml"
    package.mkdir()
    (package / "model.py").write_text("class LabelStudioMLBase:\n    pass\n")
    program = "import pickle; from backend.label_studio.ml_model import M2N2Model; "
    program += "assert pickle.loads(pickle.dumps(M2N2Model)) is M2N2Model"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_without_the_package_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "label_studio_ml", None)
    with pytest.raises(ConfigurationError, match="label-studio-ml cannot be imported"):
        _ = ml_model.M2N2Model


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Model'"):
        _ = ml_model.Model
