"""The real kustomize renders what the tests validate, and the Prometheus operator's own types take it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helpers.deploy.kustomize import apply, find_containers, find_pods, identify, render
from tests.helpers.deploy.manifests import COMPONENTS, FOLDERS, ORDER, combine, list_combinations
from tests.helpers.deploy.monitoring_resources import SCHEMAS

ROOT = Path(__file__).parents[2]
OPERATOR = "@kubernetes-models/prometheus-operator@6.0.0"
"""Validators that are made of the operator's Go types."""

VALIDATE = """
import * as models from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { readFileSync } from "node:fs";
for (const one of JSON.parse(readFileSync(0, "utf8"))) new models[one.kind](one).validate();
"""


def run_kubectl(folder):
    result = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), "kubectl 1.27 or newer is needed; Debian has it from 13 on"
    return sorted(yaml.safe_load_all(result.stdout), key=identify)


@pytest.mark.parametrize(
    "folder", [*FOLDERS.values(), ROOT / "deploy/ray", ROOT / "deploy/ray-cpu"], ids=lambda path: path.name
)
def test_kubectl_renders_the_same(folder):
    assert run_kubectl(folder) == sorted(render(folder), key=identify)


@pytest.mark.parametrize("names", list_combinations(), ids="+".join)
def test_kubectl_combines_components_to_the_same(names, tmp_path):
    """Without a GPU and with one, where Stable Diffusion is there already."""
    for folder in ("base", "gpu") if "stable-diffusion" not in names else ("base",):
        kustomization = {
            "resources": [os.path.relpath(FOLDERS[folder], tmp_path)],
            "components": [os.path.relpath(COMPONENTS / name, tmp_path) for name in names],
        }
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        assert run_kubectl(tmp_path) == sorted(combine(*names, folder=folder), key=identify)


def read_overlay_of_the_document(tmp_path):
    """The folder of the overlay that the document shows, beside the repository."""
    (tmp_path / "m2n2").symlink_to(ROOT)
    (tmp_path / "own").mkdir()
    document = (ROOT / "docs" / "operate" / "kubernetes.md").read_text()
    text = re.search(r"^# kustomization.yaml\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    (tmp_path / "own" / "kustomization.yaml").write_text(text[1])
    return tmp_path / "own"


def test_the_overlay_of_the_document_works(tmp_path):
    manifests = run_kubectl(read_overlay_of_the_document(tmp_path))
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"annotation"}
    assert {one["image"] for one in find_containers(manifests)} == {"registry.example.com/m2n2:0.1.0-cuda"}
    (configmap,) = (manifest for manifest in manifests if manifest["kind"] == "ConfigMap")
    assert configmap["data"]["LABEL_STUDIO_URL"] == "http://label-studio.annotation:8080"
    assert configmap["data"]["M2N2_CVAT_PORT"] == "8070"
    assert len(find_pods(manifests)) == 1


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """A folder with the operator's types."""
    folder = tmp_path_factory.mktemp("operator")
    (folder / "validate.mjs").write_text(VALIDATE)
    (folder / "package.json").write_text('{"private": true}')
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", OPERATOR], cwd=folder, check=True)
    return folder


def validate(operator, manifests):
    command = ["node", "validate.mjs"]
    return subprocess.run(
        command, cwd=operator, input=json.dumps(manifests), capture_output=True, text=True, check=False
    )


def test_the_operator_takes_its_resources(operator):
    manifests = [one for one in combine(*ORDER) if one["kind"] in SCHEMAS]
    assert len(manifests) == 2
    result = validate(operator, manifests)
    assert result.returncode == 0, result.stderr


def test_the_operator_s_types_notice_a_mistake(operator):
    (rule,) = (one for one in apply(COMPONENTS / "monitoring", []) if one["kind"] == "PrometheusRule")
    rule["spec"]["groups"][0]["rules"][0]["expr"] = {"a": "mapping"}
    assert "expr" in validate(operator, [rule]).stderr
