"""deploy/ray and deploy/ray-cpu are what Kubernetes and KubeRay take, and agree with the image and the server.

What Ray itself says of them is in tests/ray.
"""

from __future__ import annotations

import runpy

import kubernetes_validate
import pytest
import yaml

from backend.settings import load_settings
from m2n2_engine import __version__
from tests.helpers.deploy.kustomize import read, render
from tests.helpers.deploy.manifests import VERSIONS, check, find, find_all
from tests.helpers.paths import ROOT

DEPLOY = ROOT / "deploy"
VARIANTS = {"ray": "cuda", "ray-cpu": "cpu"}
"""Folder -> end of the image's target."""


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def manifests(variant):
    return render(DEPLOY / variant)


@pytest.fixture
def cluster(manifests):
    return find(manifests, "RayService")["spec"]["rayClusterConfig"]


@pytest.fixture
def templates(manifests, cluster):
    """Of the pods, by what they are."""
    (worker,) = cluster["workerGroupSpecs"]
    backend = find(manifests, "Deployment", "m2n2-backend")["spec"]["template"]
    return {"head": cluster["headGroupSpec"]["template"], "worker": worker["template"], "backend": backend}


def list_containers(template):
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_and_kuberay_take_everything(manifests, templates, version):
    for manifest in manifests:
        check(manifest, version)
    for template in templates.values():
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "pod", **template["metadata"]}}
        kubernetes_validate.validate(pod, version, strict=True)


def test_the_autoscaler_s_container_would_be_one(cluster):
    options = cluster["autoscalerOptions"]
    spec = {"containers": [{"name": "autoscaler", "image": "m2n2-ray:1", **options}]}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}, "1.37", strict=True
    )
    assert options["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_wrong_pod_is_seen():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"contaners": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


def test_no_pod_may_do_more_than_it_needs(templates):
    for name, template in templates.items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        # The head's autoscaler asks Kubernetes for workers.
        assert spec.get("automountServiceAccountToken", True) is (name == "head")
        for container in list_containers(template):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_service_s_own_variables_are_no_settings(manifests, templates):
    """A Service m2n2 would bring M2N2_PORT=tcp://... into every container of its namespace."""
    assert find(manifests, "Service")
    assert all(template["spec"]["enableServiceLinks"] is False for template in templates.values())


def test_every_image_is_the_target_of_this_variant(variant, templates):
    end = VARIANTS[variant]
    images = {container["image"] for template in templates.values() for container in list_containers(template)}
    assert images == {f"m2n2-ray:{__version__}{'' if end == 'cpu' else '-cuda'}"}
    assert f"\nFROM {end} AS ray-{end}\n" in (ROOT / "Dockerfile").read_text()


def test_the_operator_and_the_servers_have_one_token(cluster, templates):
    """Without it the operator cannot deploy the application."""
    assert cluster["authOptions"] == {"mode": "token", "secretName": "m2n2-ray"}
    (backend,) = templates["backend"]["spec"]["containers"]
    (token,) = (one["valueFrom"]["secretKeyRef"] for one in backend["env"] if one["name"] == "RAY_AUTH_TOKEN")
    # The key that KubeRay looks for.
    assert token == {"name": "m2n2-ray", "key": "auth_token"}


def test_the_settings_of_both_kinds_are_settings(manifests, caplog):
    (app,) = yaml.safe_load(find(manifests, "RayService")["spec"]["serveConfigV2"])["applications"]
    engine = load_settings(app["runtime_env"]["env_vars"])
    backend = load_settings(find(manifests, "ConfigMap", "m2n2-backend")["data"])
    assert not caplog.records
    assert (backend.engine, backend.ray_address, backend.ray_app) == ("ray", "auto", app["name"])
    assert backend.label_studio_url is not None
    assert engine.engine == "local"


def test_a_worker_has_what_its_replica_asks_for(manifests, templates):
    (app,) = yaml.safe_load(find(manifests, "RayService")["spec"]["serveConfigV2"])["applications"]
    (deployment,) = app["deployments"]
    asked = deployment["ray_actor_options"]
    (worker,) = templates["worker"]["spec"]["containers"]
    settings = load_settings(app["runtime_env"]["env_vars"])
    assert int(worker["resources"]["requests"]["cpu"]) == asked["num_cpus"]
    assert int(worker["resources"]["limits"].get("nvidia.com/gpu", 0)) == asked.get("num_gpus", 0)
    assert settings.device == ("cuda" if "num_gpus" in asked else "cpu")


def test_weights_that_the_image_has_not_are_fetched_before_a_worker_starts(manifests, templates):
    (app,) = yaml.safe_load(find(manifests, "RayService")["spec"]["serveConfigV2"])["applications"]
    settings = load_settings(app["runtime_env"]["env_vars"])
    fetches = templates["worker"]["spec"].get("initContainers", [])
    assert [fetch["command"][3] for fetch in fetches] == [settings.backbone] * (settings.backbone != "dinov2-small")
    for fetch in fetches:
        own = load_settings({one["name"]: one["value"] for one in fetch["env"]})
        assert own.cache_folder == settings.cache_folder
        assert fetch["volumeMounts"] == templates["worker"]["spec"]["containers"][0]["volumeMounts"]


def test_the_server_joins_the_cluster_and_is_started_as_the_image_does(manifests, templates):
    (container,) = templates["backend"]["spec"]["containers"]
    command = container["args"][0]
    assert f"--address={find(manifests, 'RayService')['metadata']['name']}-head-svc:6379" in command
    assert command.endswith("exec gunicorn -c python:backend.http.gunicorn_conf")
    assert 'CMD ["gunicorn", "--config", "python:backend.http.gunicorn_conf"]' in (ROOT / "Dockerfile").read_text()


def test_everything_that_a_server_writes_is_on_a_volume(templates):
    (container,) = templates["backend"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/cache", "/tmp", "/dev/shm"}
    shared = next(one for one in templates["backend"]["spec"]["volumes"] if one["name"] == "shared-memory")["emptyDir"]
    assert shared["medium"] == "Memory"
    store = int(container["args"][0].partition("--object-store-memory=")[2].split()[0])
    assert store < int(shared["sizeLimit"].removesuffix("Mi")) * 2**20


def test_a_server_has_the_time_that_gunicorn_takes_to_end(templates):
    spec = templates["backend"]["spec"]
    command, seconds = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    graceful = runpy.run_module("backend.http.gunicorn_conf")["graceful_timeout"]
    assert spec["terminationGracePeriodSeconds"] >= int(seconds) + graceful + 10


def selects(policy, template):
    return policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_nobody_reaches_the_cluster_but_its_own_nodes_and_the_operator(manifests, templates):
    for name, template in templates.items():
        policies = [policy for policy in find_all(manifests, "NetworkPolicy") if selects(policy, template)]
        rules = [rule for policy in policies for rule in policy["spec"]["ingress"]]
        unlimited = [rule for rule in rules if "ports" not in rule]
        assert [rule["from"] for rule in unlimited] == [
            [{"podSelector": find(manifests, "NetworkPolicy", "m2n2-ray")["spec"]["podSelector"]}]
        ], name
        others = {
            entry["podSelector"]["matchLabels"].get("app.kubernetes.io/name", "cvat")
            for rule in rules
            if "ports" in rule
            for entry in rule["from"]
        }
        assert others == {"head": {"kuberay-operator"}, "worker": set(), "backend": {"label-studio", "cvat"}}[name]


def test_labels_of_the_pods_are_those_that_are_selected(manifests, templates):
    labels = templates["backend"]["metadata"]["labels"]
    assert find(manifests, "Service")["spec"]["selector"].items() <= labels.items()
    assert find(manifests, "Deployment", "m2n2-backend")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    budget = find(manifests, "PodDisruptionBudget", "m2n2-backend")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in templates["backend"]["spec"]["containers"][0]["ports"]}
    settings = load_settings(find(manifests, "ConfigMap", "m2n2-backend")["data"])
    assert ports == {"http": settings.port, "cvat": settings.cvat_port}


def test_the_rules_of_who_may_click_are_those_of_the_other_folder():
    """For the same pods of Label Studio and CVAT."""
    ray = find(render(DEPLOY / "ray"), "NetworkPolicy", "m2n2-backend")["spec"]["ingress"]
    (base,) = read(DEPLOY / "kubernetes" / "base" / "networkpolicy.yaml")
    (cvat,) = read(DEPLOY / "kubernetes" / "components" / "cvat" / "networkpolicy.yaml")
    assert ray == [*base["spec"]["ingress"], *cvat["spec"]["ingress"]]
