"""Every package that an environment of ours is asked for has one version."""

from __future__ import annotations

import re

import pytest

from m2n2_engine import __version__
from tests.helpers.deploy.pins import BESIDE_PRODUCT, OTHERS, PRODUCT_AND_EXTRAS
from tests.helpers.paths import ROOT

PIN = re.compile(r"[A-Za-z0-9_.-]+(\[[a-z,]+\])?==[0-9][0-9a-z.]*")


@pytest.mark.parametrize("requirements", [PRODUCT_AND_EXTRAS, BESIDE_PRODUCT, *OTHERS.values()])
def test_everything_is_pinned(requirements):
    assert requirements
    for requirement in requirements:
        assert PIN.fullmatch(requirement), requirement


def test_the_version_is_from_one_place_and_named_alike_everywhere():
    named = {
        "CITATION.cff": r"^version: (.*)$",
        "deploy/kubernetes/base/deployment.yaml": r"image: m2n2:(.*)$",
        "deploy/kubernetes/overlays/gpu/kustomization.yaml": r"newTag: (.*)-cuda$",
        "deploy/kubernetes/components/stable-diffusion/deployment.yaml": r"image: m2n2:(.*)$",
        "deploy/ray/rayservice.yaml": r"image: m2n2-ray:(.*)-cuda$",
        "docs/operate/kubernetes.md": r"`m2n2:([0-9.]+)`",
        "docs/operate/ray.md": r"--target ray-cpu -t m2n2-ray:([0-9.]+) \.$",
        "CHANGELOG.md": r"^## (\S+)",
    }
    for file, pattern in named.items():
        found = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert found is not None, file
        assert found[1] == __version__, file


def test_every_version_says_what_operators_must_do():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions
    for version in versions:
        assert "\n### For operators\n" in version, version.splitlines()[0]
