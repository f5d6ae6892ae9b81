"""The commands of docs/operate/kubernetes.md and ray.md for a cluster are followed to the letter, without one.

A stand-in has the real kubectl make all that would be sent. It says what that proves, and what not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.deploy_heavy.pages import KUBERNETES, RAY
from tests.helpers.deploy.manifests import VERSIONS, check, find
from tests.helpers.paths import ROOT

CERTIFICATE = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout tls.key -out tls.crt"


@pytest.fixture
def follow(tmp_path):
    """Script -> what was sent. It runs beside a certificate, in a folder with this repository's manifests."""
    kubectl = shutil.which("kubectl")
    assert kubectl is not None, "make deploy-test installs kubectl"
    programs, sent = tmp_path / "bin", tmp_path / "sent"
    programs.mkdir()
    sent.touch()
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    subprocess.run(CERTIFICATE.split(), cwd=tmp_path, check=True, capture_output=True)
    stub = programs / "kubectl"
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.helpers.stand_ins.kubectl_stub "$@"\n')
    stub.chmod(0o755)
    environ = {
        "KUBECTL": kubectl,
        "KUBECTL_SENT": str(sent),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }

    def follow(script):
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in sent.read_text().splitlines()]

    return follow


@pytest.mark.parametrize(("page", "kinds"), [(KUBERNETES, {"Deployment"}), (RAY, {"Deployment", "RayService"})])
def test_a_page_sends_what_kubernetes_takes(follow, page, kinds):
    sent = follow(page.make_script())
    for manifest in sent:
        for version in VERSIONS:
            check(manifest, version)
    assert {manifest["kind"] for manifest in sent} >= {"Namespace", "Secret", "Service", *kinds}
    assert {manifest["metadata"].get("namespace", "annotation") for manifest in sent} == {"annotation"}


def test_the_certificate_and_the_password_are_where_the_ingress_looks(follow):
    *_, tls, secret = follow(KUBERNETES.make_script())
    assert (tls["metadata"]["name"], tls["type"]) == ("m2n2-tls", "kubernetes.io/tls")
    assert secret["metadata"]["name"] == "m2n2"
    assert set(secret["data"]) == {"LABEL_STUDIO_API_KEY", "M2N2_BASIC_AUTH_USER", "M2N2_BASIC_AUTH_PASSWORD"}


def test_ray_s_token_is_where_its_cluster_looks(follow):
    sent = follow(RAY.make_script())
    name = find(sent, "RayService")["spec"]["rayClusterConfig"]["authOptions"]["secretName"]
    assert set(find(sent, "Secret", name)["data"]) == {"auth_token"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("kubectl create namespaces annotation --now", "unknown flag: --now"),
        ("kubectl --namespace x create secret generic m2n2 --from-literal=a=b", "there is no namespace x"),
        ("kubectl create namespace x; kubectl create namespace x", "Namespace x already exists"),
        ("kubectl create secret tls m2n2-tls --cert=other.crt --key=tls.key", "other.crt"),
        ("kubectl apply --kustomize deploy/kubernetes/overlays/none", "overlays/none"),
        ("kubectl rollout status deployment/m2n2", "there is no deployment/m2n2 in default"),
        (
            "kubectl apply --kustomize deploy/kubernetes/base; kubectl rollout status deployment/m2n2",
            "deployment/m2n2 needs the secret m2n2",
        ),
        ("kubectl get pods", "kubectl get pods: not known here"),
    ],
)
def test_the_stand_in_would_notice(follow, wrong, said):
    with pytest.raises(AssertionError, match=said):
        follow(f"set -e; {wrong}")
