"""The model class in a server that calls it as label-studio-ml 2.0 does; `make label-studio-ml` has 1.0.9 itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.tools.studio.processes import Server
from m2n2_engine import __version__
from tests.helpers import label_studio_ml_2
from tests.helpers.label_studio.model_server import ModelServerTests, make_click, post, read_body, serve_model
from tests.helpers.paths import ROOT

STAND_IN = Path(label_studio_ml_2.__path__[0])


def read_setup() -> Any:
    """As a project sends it that gives its backend no parameters: 2.0 takes them as a text alone."""
    return {**read_body("setup_request"), "extra_params": None}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environ = {"PYTHONPATH": os.pathsep.join([str(STAND_IN), str(ROOT)])}
    with serve_model(tmp_path_factory.mktemp("label-studio-ml"), environ) as server:
        post(server, "/setup", read_setup())
        yield server


class TestVersion2(ModelServerTests):
    def test_setup_tells_the_version(self, ask: Callable[[str, Any], Any]) -> None:
        assert ask("/setup", read_setup()) == {"model_version": f"m2n2-{__version__}"}

    def test_each_project_has_its_own_labels(self, ask: Callable[[str, Any], Any]) -> None:
        """A project's configuration need not come with a click: its last one is kept."""
        body, _ = make_click(1)
        labels = {"7.1": "Cat", "8.1": "Lynx"}
        for project, label in labels.items():
            schema = body["label_config"].replace('"Cat"', f'"{label}"')
            ask("/setup", {**read_setup(), "project": project, "schema": schema})
        del body["label_config"]
        (point,) = body["params"]["context"]["result"]
        for project, label in labels.items():
            point["value"]["keypointlabels"] = [label]
            (prediction,) = ask("/predict", {**body, "project": project})["results"]
            assert [region["value"]["brushlabels"] for region in prediction["result"]] == [[label]]

    def test_a_request_without_context_is_a_batch(self, ask: Callable[[str, Any], Any]) -> None:
        body = read_body("predict_batch_2_tasks")
        del body["params"]
        assert ask("/predict", body)["results"] == [[], []]

    def test_an_event_changes_nothing(self, server: Server, ask: Callable[[str, Any], Any]) -> None:
        assert ask("/webhook", read_body("webhook_ANNOTATION_CREATED")) == {"status": "done"}
        assert ask("/setup", read_setup()) == {"model_version": f"m2n2-{__version__}"}
