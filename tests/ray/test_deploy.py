"""The files of deploy/ray say what their readers understand: Ray Serve, KubeRay and Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from backend.ray_replica import engine
from backend.settings import Settings, load_settings

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
    assert (module, name) == ("backend.ray_replica", "app")
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
