"""The files of deploy/ray say what their readers understand: Ray Serve, KubeRay and Kubernetes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from backend.engines.ray_replica import engine
from backend.settings import Settings, load_settings
from tests.helpers.deploy.custom_resource import SCHEMA, read_schema

DEPLOY = Path(__file__).parents[2] / "deploy" / "ray"
SERVICE, DEPLOYMENT, NETWORK = yaml.safe_load_all((DEPLOY / "rayservice.yaml").read_text())
CONFIGS = {
    "serve.yaml": (DEPLOY / "serve.yaml").read_text(),
    "rayservice.yaml": SERVICE["spec"]["serveConfigV2"],
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


def _pods() -> dict[str, Any]:
    cluster = SERVICE["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return {group.get("groupName", "head"): group["template"] for group in groups}


@pytest.mark.parametrize("template", _pods().values(), ids=_pods())
def test_kubernetes_takes_the_pods_of_the_cluster(template: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_kuberay_takes_the_service() -> None:
    jsonschema.validate(SERVICE, SCHEMA)


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


@pytest.mark.parametrize("manifest", [DEPLOYMENT, NETWORK], ids=["Deployment", "Service"])
def test_kubernetes_takes_the_backend(manifest: Any) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_pod_is_seen() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"contaners": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_the_backend_joins_the_cluster_and_asks_it(caplog: pytest.LogCaptureFixture) -> None:
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    settings = load_settings(given)
    assert (settings.engine, settings.ray_address) == ("ray", "auto")
    assert not caplog.records
    assert f"--address={SERVICE['metadata']['name']}-head-svc:6379" in container["args"][0]


def test_the_cluster_runs_the_release_that_is_pinned() -> None:
    assert SERVICE["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__
