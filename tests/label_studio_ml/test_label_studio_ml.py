"""The model class in a server of label-studio-ml 1.0.9, asked as a real Label Studio asks; `make e2e` runs it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backend.tools.studio.processes import Server
from tests.helpers.label_studio.model_server import ModelServerTests, post, read_body, serve_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_model(tmp_path_factory.mktemp("label-studio-ml"), {}) as server:
        post(server, "/setup", read_body("setup_request"))
        yield server


class TestVersion1(ModelServerTests):
    def test_the_release_is_the_one_of_the_registry(self) -> None:
        assert importlib.metadata.version("label-studio-ml") == "1.0.9"

    def test_setup_is_answered(self, ask: Callable[[str, Any], Any]) -> None:
        assert "model_version" in ask("/setup", read_body("setup_request"))
