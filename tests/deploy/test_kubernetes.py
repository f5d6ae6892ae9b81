"""The manifests of deploy/kubernetes are what Kubernetes takes, and agree with each other and with the server."""

from __future__ import annotations

import copy
import re
import runpy
from pathlib import Path

import kubernetes_validate
import pytest

from backend.app import create_app
from backend.settings import load_settings
from m2n2_engine.types import EngineStatus, State
from tests.helpers.deploy.kustomize import find_pods, read, render
from tests.helpers.deploy.manifests import COMPONENTS, FOLDERS, ORDER, VERSIONS, check, combine, find, find_all
from tests.helpers.paths import ROOT

DEPLOY = ROOT / "deploy"
WITHOUT_GPU = [*([name] for name in ORDER[:-1]), ORDER[-2:], ORDER]
GIBIBYTE = 1024
WORKLOADS = ("Deployment", "StatefulSet")


@pytest.fixture(params=[*FOLDERS, *WITHOUT_GPU], ids=lambda given: given if isinstance(given, str) else "+".join(given))
def manifests(request):
    return render(FOLDERS[request.param]) if isinstance(request.param, str) else combine(*request.param)


@pytest.fixture
def deployment(manifests):
    (found,) = (manifest for manifest in manifests if manifest["kind"] in WORKLOADS)
    return found


@pytest.fixture
def pod(deployment):
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (found,) = pod["containers"]
    return found


@pytest.fixture
def environment(manifests, container):
    """What the container of the first pod has from its image, the ConfigMap, the Secret and its own manifest."""
    (block,) = re.findall(r"^ENV PATH=(?:.*\\\n)+.*", (DEPLOY.parent / "Dockerfile").read_text(), re.MULTILINE)
    own = {
        one["name"]: one["value"].replace("$(POD_NAME)", "m2n2-0") for one in container.get("env", []) if "value" in one
    }
    configmap = find(manifests, "ConfigMap")["data"]
    secret = {"M2N2_BASIC_AUTH_PASSWORD": "sesame"} if "M2N2_BASIC_AUTH_USER" in configmap else {}
    return {**dict(re.findall(r"(\w+)=(\S+)", block)), **configmap, **secret, **own}


@pytest.fixture
def settings(environment):
    return load_settings(environment)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(manifests, version):
    assert len(manifests) >= 6
    for manifest in manifests:
        check(manifest, version)


def test_what_the_schemas_do_not_know_is_noticed(deployment):
    wrong = copy.deepcopy(deployment)
    wrong["spec"]["template"]["spec"]["containers"][0]["readinessProbes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(wrong, VERSIONS[-1])


def test_every_file_of_a_folder_is_used():
    for folder in [*FOLDERS.values(), *COMPONENTS.iterdir()]:
        (kustomization,) = read(folder / "kustomization.yaml")
        patches = (patch.get("path") for patch in kustomization.get("patches", []))
        used = {*kustomization.get("resources", []), *patches}
        assert {path.name for path in folder.iterdir()} - {"kustomization.yaml"} <= used
    assert {path.name for path in COMPONENTS.iterdir()} == set(ORDER)


def test_the_settings_are_ours_and_wait_for_no_more_than_the_pod_has(settings, container, manifests, caplog):
    assert caplog.text == ""
    (volume,) = [
        *find_all(manifests, "PersistentVolumeClaim"),
        *(claim for one in find_all(manifests, "StatefulSet") for claim in one["spec"]["volumeClaimTemplates"]),
    ]
    disk_mib = to_mib(volume["spec"]["resources"]["requests"]["storage"])
    assert settings.disk_cache_mib <= disk_mib / 2
    memory_mib = to_mib(container["resources"]["limits"]["memory"])
    sessions_mib = 0 if settings.device == "cuda" else settings.session_cache_mib
    caches_mib = sessions_mib + settings.host_cache_mib + settings.image_cache_mib
    assert caches_mib + 2 * GIBIBYTE <= memory_mib
    assert settings.threads == int(container["resources"]["requests"]["cpu"])


def to_mib(quantity):
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi")) * GIBIBYTE


def test_everything_that_is_written_is_on_a_volume(settings, environment, container):
    assert container["securityContext"]["readOnlyRootFilesystem"]
    mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
    written = [settings.disk_cache_folder, Path(environment["NUMBA_CACHE_DIR"]), Path(environment["TRITON_CACHE_DIR"])]
    if settings.backbone != "auto":
        written.append(settings.cache_folder)  # its weights are not those that the image holds
    for folder in (*written, Path(environment["HOME"]), Path("/tmp")):
        assert any(folder.is_relative_to(mount) for mount in mounts), folder


def test_the_user_is_that_of_nobody_and_may_do_nothing(pod, container):
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert not pod["automountServiceAccountToken"]


@pytest.fixture
def loading():
    """A client of a server whose model is being loaded."""

    class Loading:
        def status(self):
            return EngineStatus("m2n2", State.LOADING)

    return create_app(load_settings({}), Loading()).test_client()


def test_a_pod_that_loads_is_sent_no_clicks_and_not_killed(loading, container):
    startup, readiness, liveness = (container[f"{name}Probe"] for name in ("startup", "readiness", "liveness"))
    answers = [loading.get(find_path(probe)).status_code for probe in (startup, readiness, liveness)]
    assert set(answers) <= {200, 503}
    assert answers[1] == 503
    if answers[2] == 503:
        assert answers[0] == 503
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


def find_path(probe):
    return probe["httpGet"]["path"] if "httpGet" in probe else probe["exec"]["command"][-1]


def test_the_probes_ask_at_the_server_s_port(container, settings):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, **({"cvat": settings.cvat_port} if settings.cvat_port else {})}
    for name in ("startup", "readiness", "liveness"):
        probe = container[f"{name}Probe"]
        if "httpGet" in probe:
            assert probe["httpGet"]["port"] == "http"
        else:
            assert probe["exec"]["command"][:-1] == ["python", "/opt/m2n2/health.py", str(settings.port)]


def test_the_service_has_every_port_of_the_container(manifests, container, settings):
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in find(manifests, "Service")["spec"]["ports"]}
    assert ports == {port["name"]: (port["containerPort"], port["name"]) for port in container["ports"]}


def test_pods_are_let_in_by_their_labels_and_no_whole_namespace_is(manifests, container):
    policies = [policy["spec"] for policy in find_all(manifests, "NetworkPolicy")]
    rules = [rule for policy in policies for rule in policy["ingress"]]
    assert rules
    for rule in rules:
        assert all(entry["podSelector"]["matchLabels"] for entry in rule["from"])
    admitted = {port["port"] for rule in rules for port in rule["ports"]}
    assert admitted == {port["name"] for port in container["ports"]}


def test_a_pod_has_the_time_that_gunicorn_takes_to_end(pod, container):
    config = runpy.run_module("backend.http.gunicorn_conf")
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + config["graceful_timeout"] + 10


def test_the_service_s_own_variables_are_no_settings(pod, manifests):
    """A Service m2n2 would bring M2N2_PORT=tcp://... into every container of its namespace."""
    assert find(manifests, "Service")["metadata"]["name"] == "m2n2"
    assert pod["enableServiceLinks"] is False


def test_all_that_selects_pods_selects_these(manifests, deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert [
        one["spec"]["selector"] for one in find_all(manifests, "Service") if one["spec"]["selector"] != labels
    ] == []
    for policy in find_all(manifests, "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"] == labels
    for kind in ("PodDisruptionBudget", "ServiceMonitor"):
        for one in find_all(manifests, kind):
            assert one["spec"]["selector"]["matchLabels"] == labels


def test_gpu_is_asked_for_where_it_is_needed():
    base, gpu = (find_pods(render(FOLDERS[name]))[0]["containers"][0] for name in ("base", "gpu"))
    assert "nvidia.com/gpu" not in base["resources"]["limits"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert base["image"] != gpu["image"]
