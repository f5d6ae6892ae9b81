"""The real kustomize renders what the tests validate."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helpers.deploy.kustomize import find_containers, identify, render

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


def run_kubectl(folder):
    result = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), "kubectl 1.21 or newer is needed; Debian has it from 13 on"
    return sorted(yaml.safe_load_all(result.stdout), key=identify)


@pytest.mark.parametrize("name", ["base", *(f"overlays/{path.name}" for path in (KUBERNETES / "overlays").iterdir())])
def test_kubectl_renders_the_same(name):
    assert run_kubectl(KUBERNETES / name) == sorted(render(KUBERNETES / name), key=identify)


def test_the_overlay_of_the_document_works(tmp_path):
    (tmp_path / "m2n2").symlink_to(ROOT)
    (tmp_path / "own").mkdir()
    document = (ROOT / "docs" / "operate" / "kubernetes.md").read_text()
    text = re.search(r"^# kustomization.yaml\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    (tmp_path / "own" / "kustomization.yaml").write_text(text[1])
    manifests = run_kubectl(tmp_path / "own")
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"annotation"}
    (container,) = find_containers(manifests)
    assert container["image"] == "registry.example.com/m2n2:0.1.0-cuda"
    (configmap,) = (manifest for manifest in manifests if manifest["kind"] == "ConfigMap")
    assert configmap["data"]["LABEL_STUDIO_URL"] == "http://label-studio.annotation:8080"
