"""The real kustomize renders what the tests validate."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from kustomize import identify, render

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"


@pytest.mark.parametrize("name", ["base", *(f"overlays/{path.name}" for path in (KUBERNETES / "overlays").iterdir())])
def test_kubectl_renders_the_same(name):
    folder = KUBERNETES / name
    result = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), "kubectl 1.21 or newer is needed; Debian has it from 13 on"
    rendered = sorted(yaml.safe_load_all(result.stdout), key=identify)
    assert rendered == sorted(render(folder), key=identify)
