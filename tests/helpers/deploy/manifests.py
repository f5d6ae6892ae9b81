"""The folders of deploy/kubernetes, rendered, and what is in them."""

from __future__ import annotations

import itertools

from ..paths import ROOT
from .kustomize import Manifest, apply, render

KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = KUBERNETES / "components"
FOLDERS = {"base": KUBERNETES / "base", **{path.name: path for path in sorted((KUBERNETES / "overlays").iterdir())}}

ORDER = ["stable-diffusion", "cvat", "monitoring", "ingress", "two-replicas", "autoscaling"]
"""Of components that are combined, as docs/operate/kubernetes.md has it."""


def combine(*names: str, folder: str = "base") -> list[Manifest]:
    """The manifests of a folder with these components."""
    manifests = render(FOLDERS[folder])
    for name in names:
        manifests = apply(COMPONENTS / name, manifests)
    return manifests


def list_combinations() -> list[tuple[str, ...]]:
    """Every choice of components, in their order; the last one needs the one before it."""
    sizes = range(1, len(ORDER) + 1)
    chosen = itertools.chain.from_iterable(itertools.combinations(ORDER, size) for size in sizes)
    return [names for names in chosen if ORDER[-1] not in names or ORDER[-2] in names]


def find(manifests: list[Manifest], kind: str, name: str = "m2n2") -> Manifest:
    """The one manifest of this kind and name."""
    (found,) = (one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def find_all(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [one for one in manifests if one["kind"] == kind]
