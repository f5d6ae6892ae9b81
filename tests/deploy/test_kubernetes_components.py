"""Each component of deploy/kubernetes does what it is for, alone and with the others."""

from __future__ import annotations

import re

import pytest
import typer
import yaml

from backend.cli.main import app
from backend.http.peers import rank_peers
from backend.settings import load_settings
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.weights import store
from tests.helpers.deploy.kustomize import find_pods, render, run_steps
from tests.helpers.deploy.manifests import COMPONENTS, FOLDERS, ORDER, combine, find, find_all, list_combinations
from tests.helpers.deploy.prometheus_rule import ALERTS, RULE, render_rule
from tests.helpers.paths import ROOT

NGINX = (ROOT / "deploy" / "nginx" / "m2n2.conf").read_text()
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.mark.parametrize("names", list_combinations(), ids="+".join)
def test_components_are_combined_in_their_order(names):
    manifests = combine(*names)
    identities = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(identities)) == len(identities)
    assert len(find_pods(manifests)) == 1
    (kind,) = {"Deployment", "StatefulSet"} & {kind for kind, _ in identities}
    assert kind == ("StatefulSet" if "two-replicas" in names else "Deployment")


def test_the_document_has_the_components_in_their_order():
    _, _, text = (ROOT / "docs" / "operate" / "kubernetes.md").read_text().partition("## Components\n")
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == ORDER


# --- cvat


@pytest.mark.parametrize("folder", ["label-studio-and-cvat", "production"])
def test_one_server_on_a_gpu_answers_both_platforms(folder):
    manifests = render(FOLDERS[folder])
    (pod,) = find_pods(manifests)
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    ports = {port["name"]: port["port"] for port in find(manifests, "Service")["spec"]["ports"]}
    settings = load_settings({"M2N2_CVAT_PORT": find(manifests, "ConfigMap")["data"]["M2N2_CVAT_PORT"]})
    assert ports == {"http": settings.port, "cvat": settings.cvat_port}


def test_cvat_s_pods_reach_its_port_and_no_other():
    (rule,) = find(combine("cvat"), "NetworkPolicy", "m2n2-cvat")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "cvat"}]
    (pods,) = rule["from"]
    # Both in one entry: pods of that name in that namespace, and not all of either.
    assert set(pods) == {"namespaceSelector", "podSelector"}


# --- ingress


def nginx(name):
    return re.search(rf"^\s*{name} (.*);$", NGINX, re.MULTILINE)[1]


def test_the_ingress_waits_as_long_as_our_nginx_does():
    annotations = find(combine("ingress"), "Ingress")["metadata"]["annotations"]
    own = {
        "client-max-body-size": nginx("client_max_body_size"),
        **{f"proxy-{what}-timeout": nginx(f"proxy_{what}_timeout") for what in ("connect", "send", "read")},
    }
    old = {
        "proxy-body-size": nginx("client_max_body_size"),
        **{name: value.removesuffix("s") for name, value in own.items() if name.startswith("proxy")},
        "proxy-next-upstream": nginx("proxy_next_upstream"),
        "proxy-next-upstream-tries": nginx("proxy_next_upstream_tries"),
        "proxy-next-upstream-timeout": nginx("proxy_next_upstream_timeout").removesuffix("s"),
    }
    assert annotations == {
        **{f"nginx.org/{name}": value for name, value in own.items()},
        **{f"nginx.ingress.kubernetes.io/{name}": value for name, value in old.items()},
    }


@pytest.mark.parametrize("manifests", [combine("ingress"), render(FOLDERS["production"])], ids=["alone", "production"])
def test_the_ingress_has_tls_for_its_one_host(manifests):
    spec = find(manifests, "Ingress")["spec"]
    (rule,), (tls,) = spec["rules"], spec["tls"]
    assert tls["hosts"] == [rule["host"]]
    assert tls["secretName"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "m2n2", "port": {"name": "http"}}


def test_the_host_stands_in_one_place():
    for file in (COMPONENTS / "ingress" / "ingress.yaml", FOLDERS["production"] / "kustomization.yaml"):
        assert file.read_text().count("m2n2.example.com") == 1


def test_behind_an_ingress_no_server_starts_without_a_password():
    given = find(combine("ingress"), "ConfigMap")["data"]
    with pytest.raises(ConfigurationError, match="M2N2_BASIC_AUTH_PASSWORD"):
        load_settings(given)
    assert load_settings({**given, "M2N2_BASIC_AUTH_PASSWORD": "sesame"}).basic_auth_user == "m2n2"


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_a_probe_that_brings_the_password_asks_where_it_asked_before(folder):
    (before,), (after,) = (find_pods(combine(*names, folder=folder))[0]["containers"] for names in ([], ["ingress"]))
    for name in PROBES:
        assert "httpGet" not in after[name]
        assert after[name]["exec"]["command"][-1] == before[name]["httpGet"]["path"]
        assert after[name]["failureThreshold"] == before[name]["failureThreshold"]
    script = ROOT / "deploy" / "image" / "health.py"
    assert (
        f"install --mode 644 deploy/image/{script.name} /opt/m2n2/"
        in (script.parent / "install_product.sh").read_text()
    )
    assert after["readinessProbe"]["exec"]["command"][1] == f"/opt/m2n2/{script.name}"


def test_prometheus_has_the_password_where_one_is_asked_for():
    (open_to_all,), (guarded,) = (
        find(combine(*names), "ServiceMonitor")["spec"]["endpoints"]
        for names in (["monitoring"], ["monitoring", "ingress"])
    )
    assert "basicAuth" not in open_to_all
    assert {key["name"] for key in guarded["basicAuth"].values()} == {"m2n2"}
    assert {key["key"] for key in guarded["basicAuth"].values()} == {"M2N2_BASIC_AUTH_USER", "M2N2_BASIC_AUTH_PASSWORD"}


# --- monitoring


def test_the_rules_are_those_of_the_alerts():
    assert RULE.read_text() == render_rule(), "run python -m tests.helpers.deploy.prometheus_rule"
    rule = find(combine("monitoring"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())


def test_every_pod_is_asked_once_and_under_the_name_of_the_alerts():
    """Where the manifest does not say otherwise, the job is the name of the Service."""
    manifests = combine("monitoring", "two-replicas")
    monitor = find(manifests, "ServiceMonitor")["spec"]
    labels = monitor["selector"]["matchLabels"]
    (service,) = (
        one for one in find_all(manifests, "Service") if labels.items() <= one["metadata"].get("labels", {}).items()
    )
    assert f'up{{job="{service["metadata"]["name"]}"}}' in ALERTS.read_text()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


# --- stable-diffusion


def test_the_weights_are_fetched_into_the_folder_that_the_server_reads():
    manifests = combine("stable-diffusion")
    (pod,) = find_pods(manifests)
    (fetch,), (server,) = pod["initContainers"], pod["containers"]
    data = find(manifests, "ConfigMap")["data"]
    settings = load_settings(data)
    program, group, verb, name, option = fetch["command"]
    assert (program, group, verb, name) == ("m2n2", "weights", "get", settings.backbone)
    assert name in {entry.name for entry, _ in store.list_weights(settings.engine_config().weights)}
    command = typer.main.get_command(app).commands[group].commands[verb]
    assert option in {flag for parameter in command.params for flag in parameter.opts}
    assert fetch["envFrom"] == [{"configMapRef": {"name": "m2n2"}}]
    assert fetch["volumeMounts"] == server["volumeMounts"]
    assert fetch["securityContext"] == server["securityContext"]
    assert any(settings.cache_folder.is_relative_to(mount["mountPath"]) for mount in fetch["volumeMounts"])


@pytest.mark.parametrize("folder", ["gpu", "label-studio-and-cvat", "production"])
def test_both_containers_are_of_one_image(folder):
    (pod,) = find_pods(render(FOLDERS[folder]))
    assert len({container["image"] for container in (*pod["initContainers"], *pod["containers"])}) == 1


# --- two-replicas, autoscaling


@pytest.mark.parametrize("names", [["two-replicas"], ["two-replicas", "autoscaling"]], ids="+".join)
def test_every_pod_is_a_peer_and_knows_which(names):
    manifests = combine(*names)
    stateful, peers = find(manifests, "StatefulSet"), find(manifests, "Service", "m2n2-peers")
    assert stateful["spec"]["serviceName"] == peers["metadata"]["name"]
    assert peers["spec"]["clusterIP"] == "None"
    autoscalers = find_all(manifests, "HorizontalPodAutoscaler")
    most = autoscalers[0]["spec"]["maxReplicas"] if autoscalers else stateful["spec"]["replicas"]
    own = next(one for one in find_pods(manifests)[0]["containers"][0]["env"] if one["name"] == "M2N2_OWN_PEER")[
        "value"
    ]
    given = find(manifests, "ConfigMap")["data"]
    for number in range(most):
        name = own.replace("$(POD_NAME)", f"{stateful['metadata']['name']}-{number}")
        settings = load_settings({**given, "M2N2_OWN_PEER": name})
        assert len(settings.peers) == most
        assert name.rpartition(":")[2] == str(settings.port)
        assert any(rank_peers(settings.peers, f"task {task}")[0] == name for task in range(100))


def test_peers_reach_each_other_and_nobody_reaches_more_than_before():
    policy = find(combine("two-replicas"), "NetworkPolicy", "m2n2-peers")["spec"]
    pods = {"podSelector": policy["podSelector"]}
    assert policy["ingress"] == [{"from": [pods], "ports": [{"port": "http"}]}]
    assert policy["egress"] == [{"to": [pods], "ports": [{"port": "http"}]}]


def test_one_pod_goes_at_a_time():
    manifests = combine("two-replicas")
    spec = find(manifests, "StatefulSet")["spec"]
    assert spec["replicas"] == 2
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    assert spec["minReadySeconds"] > 0
    assert find(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_no_pod_is_bound_to_the_node_of_another():
    manifests = combine("two-replicas")
    (pod,) = find_pods(manifests)
    assert set(pod["affinity"]) == {"podAntiAffinity"}
    assert find_all(manifests, "PersistentVolumeClaim") == []
    (claim,) = find(manifests, "StatefulSet")["spec"]["volumeClaimTemplates"]
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == volumes


def test_a_page_whose_images_are_in_one_pod_is_not_offered():
    assert load_settings({"M2N2_PLAYGROUND": find(combine("two-replicas"), "ConfigMap")["data"]["M2N2_PLAYGROUND"]})
    assert find(combine("two-replicas"), "ConfigMap")["data"]["M2N2_PLAYGROUND"] == "off"


def test_the_number_of_pods_is_the_autoscaler_s_alone():
    manifests = combine("two-replicas", "autoscaling")
    stateful = find(manifests, "StatefulSet")
    assert "replicas" not in stateful["spec"]
    spec = find(manifests, "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "m2n2"}
    assert 2 <= spec["minReplicas"] < spec["maxReplicas"]


def test_a_component_without_what_it_changes_is_noticed():
    with pytest.raises(AssertionError, match="spec/volumes/0/name"):
        run_steps(
            {"spec": {"volumes": [{"name": "tmp"}]}}, [{"op": "test", "path": "/spec/volumes/0/name", "value": "cache"}]
        )
    with pytest.raises(AssertionError, match="is not there"):
        combine("two-replicas", "cvat")
