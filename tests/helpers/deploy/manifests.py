"""The folders of deploy/kubernetes, rendered, and what is in them."""

from __future__ import annotations

import itertools

import jsonschema
import kubernetes_validate

from ..paths import ROOT
from .custom_resource import SCHEMA
from .kustomize import Manifest, apply, render
from .monitoring_resources import SCHEMAS as MONITORING

KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = KUBERNETES / "components"
FOLDERS = {"base": KUBERNETES / "base", **{path.name: path for path in sorted((KUBERNETES / "overlays").iterdir())}}

VERSIONS = ["1.28", "1.37"]
"""The oldest and the newest Kubernetes whose schemas are held to."""

SCHEMAS = {**MONITORING, "RayService": SCHEMA}
"""Kind -> schema, of what is not Kubernetes' own."""

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


def check(manifest: Manifest, version: str) -> None:
    """Raise ValidationError, of jsonschema or of kubernetes_validate, for what that Kubernetes, KubeRay or the
    Prometheus operator would not take, and for a field that they do not know."""
    if manifest["kind"] in SCHEMAS:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def find(manifests: list[Manifest], kind: str, name: str = "m2n2") -> Manifest:
    """The one manifest of this kind and name."""
    (found,) = (one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def find_all(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [one for one in manifests if one["kind"] == kind]
