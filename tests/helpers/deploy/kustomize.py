"""As much of kustomize as deploy/kubernetes uses: resources, strategic merge patches and images.

So that every overlay is validated where there is no kubectl. `make deploy-test` holds it to the real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
KNOWN = {"apiVersion", "kind", "resources", "patches", "images"}


def render(folder: Path) -> list[Manifest]:
    """The manifests of a base or overlay."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(kustomization) <= KNOWN, f"{folder}: {set(kustomization) - KNOWN} is not known here: use kubectl"
    manifests = []
    for name in kustomization["resources"]:
        path = folder / name
        manifests += render(path) if path.is_dir() else read(path)
    for patch in kustomization.get("patches", []):
        manifests = [merge_manifest(manifest, read(folder / patch["path"])) for manifest in manifests]
    tags = {image["name"]: image["newTag"] for image in kustomization.get("images", [])}
    for container in find_containers(manifests):
        name, tag = container["image"].split(":")
        container["image"] = f"{name}:{tags.get(name, tag)}"
    return manifests


def read(path: Path) -> list[Manifest]:
    """All manifests of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def find_containers(manifests: list[Manifest]) -> list[Manifest]:
    """Of all deployments."""
    pods = [manifest["spec"]["template"]["spec"] for manifest in manifests if manifest["kind"] == "Deployment"]
    return [container for pod in pods for container in pod["containers"]]


def merge_manifest(manifest: Manifest, patches: list[Manifest]) -> Manifest:
    """The manifest with those of the patches that name it."""
    for patch in patches:
        if identify(patch) == identify(manifest):
            manifest = merge(manifest, patch)
    return manifest


def identify(manifest: Manifest) -> tuple[str, str, str]:
    """What no two manifests have in common."""
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def merge(base: Any, patch: Any) -> Any:
    """Mappings key by key, lists of named things name by name; anything else is replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in patch.items()}}
    if is_named(base) and is_named(patch):
        named = {item["name"]: item for item in base}
        return list((named | {item["name"]: merge(named.get(item["name"]), item) for item in patch}).values())
    return patch


def is_named(value: Any) -> bool:
    """Whether it is a list whose items go by their names."""
    return isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value)
