"""The files of deploy/ray and deploy/ray-cpu say what their readers understand: Ray Serve, KubeRay and Kubernetes.

What needs no Ray is in tests/deploy/test_ray_manifests.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from backend.engines.ray_replica import engine
from backend.settings import Settings, load_settings
from tests.helpers.deploy.custom_resource import SCHEMA, read_schema
from tests.helpers.deploy.kustomize import render
from tests.helpers.deploy.manifests import find
from tests.helpers.paths import ROOT

DEPLOY = ROOT / "deploy"
SERVICES = {name: find(render(DEPLOY / name), "RayService") for name in ("ray", "ray-cpu")}
SERVICE = SERVICES["ray"]
CONFIGS = {
    "serve.yaml": (DEPLOY / "ray" / "serve.yaml").read_text(),
    **{name: service["spec"]["serveConfigV2"] for name, service in SERVICES.items()},
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_serve_takes_the_configuration_and_finds_the_engine(text: str) -> None:
    (app,) = ServeDeploySchema.model_validate(yaml.safe_load(text)).applications
    assert app.name == Settings.model_fields["ray_app"].default
    module, _, name = app.import_path.partition(":")
    assert (module, name) == ("backend.engines.ray_replica", "app")
    assert [deployment.name for deployment in app.deployments] == [engine.name]


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_the_settings_of_the_engines_are_settings(text: str, caplog: pytest.LogCaptureFixture) -> None:
    (app,) = yaml.safe_load(text)["applications"]
    load_settings(app["runtime_env"]["env_vars"])
    assert not caplog.records


def test_kuberay_takes_the_service_by_its_own_definition(request: pytest.FixtureRequest) -> None:
    path = request.config.getoption("kuberay_crd")
    if path is None:
        pytest.skip("needs KubeRay's own file: make ray-test KUBERAY_CRD=FILE")
    (definition,) = (
        document
        for document in yaml.safe_load_all(path.read_text())
        if document["spec"]["names"]["kind"] == "RayService"
    )
    jsonschema.validate(SERVICE, read_schema(definition, SERVICE["apiVersion"].partition("/")[2]))


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "no configuration of Serve": lambda spec: spec.pop("serveConfigV2"),
    "a configuration that is no text": lambda spec: spec.update(serveConfigV2={"applications": []}),
    "a slip in a name": lambda spec: spec["rayClusterConfig"].update(rayversion="2"),
    "a group without its most": lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].pop("maxReplicas"),
    "a group without a pod": lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].pop("template"),
    "a number as a parameter": lambda spec: spec["rayClusterConfig"]["headGroupSpec"].update(rayStartParams={"n": 0}),
    "a count in quotes": lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].update(replicas="1"),
}


@pytest.mark.parametrize("spoil", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_service_is_seen(spoil: Callable[[Any], Any]) -> None:
    wrong = copy.deepcopy(SERVICE)
    spoil(wrong["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_a_definition_is_read_strictly() -> None:
    inner = {"type": "object", "properties": {"name": {"type": "string"}}}
    anything = {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True}
    wanted = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": inner, "b": anything}}}}
    definition = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": wanted}}]}}
    schema = read_schema(definition, "v1")
    head = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "m2n2"}}
    jsonschema.validate({**head, "spec": {"a": {"name": "x"}, "b": {"whatever": 1}}}, schema)
    for wrong in ({"a": {"nam": "x"}}, {"c": {}}, {"a": {"name": 1}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**head, "spec": wrong}, schema)


def test_the_cluster_runs_the_release_that_is_pinned() -> None:
    assert SERVICE["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__
