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
from tests.helpers.deploy.kustomize import find_containers, read, render

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
FOLDERS = {"base": KUBERNETES / "base", **{path.name: path for path in (KUBERNETES / "overlays").iterdir()}}
# The oldest and the newest Kubernetes whose schemas are held to.
VERSIONS = ["1.28", "1.37"]
GIBIBYTE = 1024


@pytest.fixture(params=FOLDERS)
def manifests(request):
    return render(FOLDERS[request.param])


@pytest.fixture
def deployment(manifests):
    (found,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    return found


@pytest.fixture
def pod(deployment):
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (found,) = pod["containers"]
    return found


@pytest.fixture
def environment(manifests):
    """What the container has from its image and the ConfigMap."""
    (block,) = re.findall(r"^ENV PATH=(?:.*\\\n)+.*", (DEPLOY.parent / "Dockerfile").read_text(), re.MULTILINE)
    (configmap,) = (manifest for manifest in manifests if manifest["kind"] == "ConfigMap")
    return {**dict(re.findall(r"(\w+)=(\S+)", block)), **configmap["data"]}


@pytest.fixture
def settings(environment):
    return load_settings(environment)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(manifests, version):
    assert len(manifests) == 6
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_what_the_schemas_do_not_know_is_noticed(deployment):
    wrong = copy.deepcopy(deployment)
    wrong["spec"]["template"]["spec"]["containers"][0]["readinessProbes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_of_a_folder_is_used():
    for folder in FOLDERS.values():
        (kustomization,) = read(folder / "kustomization.yaml")
        used = {*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))}
        assert {path.name for path in folder.iterdir()} - {"kustomization.yaml"} <= used


def test_the_settings_are_ours_and_wait_for_no_more_than_the_pod_has(settings, container, manifests, caplog):
    assert caplog.text == ""
    (volume,) = (manifest for manifest in manifests if manifest["kind"] == "PersistentVolumeClaim")
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
    paths = {probe["httpGet"]["path"] for probe in (startup, readiness, liveness)}
    answers = {path: loading.get(path).status_code for path in paths}
    assert set(answers.values()) <= {200, 503}
    assert answers[readiness["httpGet"]["path"]] == 503
    if answers[liveness["httpGet"]["path"]] == 503:
        assert answers[startup["httpGet"]["path"]] == 503
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


def test_the_probes_ask_at_the_server_s_port(container, settings):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "cvat": settings.cvat_port}
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in ("startup", "readiness", "liveness")} == {"http"}


def test_one_server_answers_label_studio_and_cvat(manifests, settings):
    spec = {manifest["kind"]: manifest["spec"] for manifest in manifests if "spec" in manifest}
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in spec["Service"]["ports"]}
    assert ports == {"http": (settings.port, "http"), "cvat": (settings.cvat_port, "cvat")}
    allowed = {rule["ports"][0]["port"]: rule["from"] for rule in spec["NetworkPolicy"]["ingress"]}
    assert set(allowed) == set(ports)
    (cvat,) = allowed["cvat"]
    # Both in one entry: pods of that name in that namespace, and not all of either.
    assert set(cvat) == {"namespaceSelector", "podSelector"}


def test_a_pod_has_the_time_that_gunicorn_takes_to_end(pod, container):
    config = runpy.run_module("backend.http.gunicorn_conf")
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + config["graceful_timeout"] + 10


def test_the_service_s_own_variables_are_no_settings(pod, manifests):
    """A Service m2n2 would bring M2N2_PORT=tcp://... into every container of its namespace."""
    (service,) = (manifest for manifest in manifests if manifest["kind"] == "Service")
    assert service["metadata"]["name"] == "m2n2"
    assert pod["enableServiceLinks"] is False


def test_all_that_selects_pods_selects_these(manifests, deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spec = {manifest["kind"]: manifest["spec"] for manifest in manifests if "spec" in manifest}
    assert spec["Service"]["selector"] == labels
    assert spec["Deployment"]["selector"]["matchLabels"] == labels
    assert spec["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
    assert spec["PodDisruptionBudget"]["selector"]["matchLabels"] == labels


def test_gpu_is_asked_for_where_it_is_needed():
    (base,), (gpu,) = (find_containers(render(FOLDERS[name])) for name in ("base", "gpu"))
    assert "nvidia.com/gpu" not in base["resources"]["limits"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert base["image"] != gpu["image"]
