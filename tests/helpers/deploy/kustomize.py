"""As much of kustomize as deploy/kubernetes uses: resources, components, patches of both kinds, and images.

So that every overlay is validated where there is no kubectl. `make deploy-test` holds it to the real one.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
KNOWN = {"apiVersion", "kind", "resources", "components", "patches", "images"}
NAMED_PATCH = {"path", "patch", "target", "options"}


def render(folder: Path) -> list[Manifest]:
    """The manifests of a base or overlay."""
    return apply(folder, [])


def apply(folder: Path, manifests: list[Manifest]) -> list[Manifest]:
    """The manifests after a kustomization was applied to them: its resources, components, patches and images."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - KNOWN
    assert not unknown, f"{folder}: {unknown} is not known here: use kubectl"
    for name in kustomization.get("resources", []):
        path = folder / name
        manifests = manifests + (render(path) if path.is_dir() else read(path))
    for name in kustomization.get("components", []):
        manifests = apply(folder / name, manifests)
    for patch in kustomization.get("patches", []):
        manifests = apply_patch(folder, patch, manifests)
    tags = {image["name"]: image["newTag"] for image in kustomization.get("images", [])}
    for container in find_containers(manifests):
        name, tag = container["image"].split(":")
        container["image"] = f"{name}:{tags.get(name, tag)}"
    return manifests


def read(path: Path) -> list[Manifest]:
    """All manifests of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def find_pods(manifests: list[Manifest]) -> list[Manifest]:
    """Of all workloads."""
    return [one["spec"]["template"]["spec"] for one in manifests if one["kind"] in ("Deployment", "StatefulSet")]


def find_containers(manifests: list[Manifest]) -> list[Manifest]:
    """Of all workloads, those that run before the others too."""
    pods = find_pods(manifests)
    return [container for pod in pods for container in (*pod.get("initContainers", []), *pod["containers"])]


def apply_patch(folder: Path, patch: Manifest, manifests: list[Manifest]) -> list[Manifest]:
    """The manifests with one entry of `patches`: a strategic merge, or the steps of a JSON patch on its target."""
    assert set(patch) <= NAMED_PATCH, f"{folder}: {patch} is not known here: use kubectl"
    text = patch.get("patch") or (folder / patch["path"]).read_text()
    if "target" not in patch:
        return merge_manifests(manifests, list(yaml.safe_load_all(text)))
    kind, name = patch["target"]["kind"], patch["target"]["name"]
    steps = yaml.safe_load(text)
    return [
        run_steps(one, steps) if (one["kind"], one["metadata"]["name"]) == (kind, name) else one for one in manifests
    ]


def merge_manifests(manifests: list[Manifest], patches: list[Manifest]) -> list[Manifest]:
    """The manifests with those of the patches that name them; each has to name one."""
    for patch in patches:
        assert identify(patch) in map(identify, manifests), f"{identify(patch)} is not there"
        if patch.get("$patch") == "delete":
            manifests = [one for one in manifests if identify(one) != identify(patch)]
        else:
            manifests = [merge(one, patch) if identify(one) == identify(patch) else one for one in manifests]
    return manifests


def identify(manifest: Manifest) -> tuple[str, str, str]:
    """What no two manifests have in common."""
    return manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]


def merge(base: Any, patch: Any) -> Any:
    """Mappings key by key, lists of named things name by name with new ones first; anything else is replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in patch.items()}}
    if is_named(base) and is_named(patch):
        old, new = ({item["name"]: item for item in items} for items in (base, patch))
        added = [item for name, item in new.items() if name not in old]
        return added + [merge(item, new[name]) if name in new else item for name, item in old.items()]
    return patch


def is_named(value: Any) -> bool:
    """Whether it is a list whose items go by their names."""
    return isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value)


def run_steps(manifest: Manifest, steps: list[Manifest]) -> Manifest:
    """The manifest after the steps of a JSON patch (RFC 6902) but copy."""
    manifest = copy.deepcopy(manifest)
    for step in steps:
        value = take(manifest, step["from"]) if step["op"] == "move" else step.get("value")
        place, key = find_place(manifest, step["path"])
        match step["op"]:
            case "test":
                assert place[key] == value, f"{step['path']} is {place[key]}"
            case "remove":
                take(manifest, step["path"])
            case "replace":
                assert key in place if isinstance(place, dict) else key < len(place), step["path"]
                place[key] = value
            case "add" | "move" if isinstance(place, list):
                place.insert(key, value)
            case "add" | "move":
                place[key] = value
            case other:
                raise AssertionError(f"{other} is not known here: use kubectl")
    return manifest


def take(manifest: Manifest, path: str) -> Any:
    """What stands at a path, which is then gone."""
    place, key = find_place(manifest, path)
    return place.pop(key)


def find_place(manifest: Manifest, path: str) -> tuple[Any, Any]:
    """What a path leads into, and its last step: a key, or a place in a list."""
    *way, last = path.removeprefix("/").split("/")
    place: Any = manifest
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if isinstance(place, list):
        return place, len(place) if last == "-" else int(last)
    return place, last
