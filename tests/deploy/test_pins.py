"""Every package that an environment of ours is asked for has one version."""

from __future__ import annotations

import re

import pytest

from tests.helpers.deploy.pins import BESIDE_PRODUCT, OTHERS, PRODUCT_AND_EXTRAS
from tests.helpers.paths import ROOT

PIN = re.compile(r"[A-Za-z0-9_.-]+(\[[a-z,]+\])?==[0-9][0-9a-z.]*")


@pytest.mark.parametrize("requirements", [PRODUCT_AND_EXTRAS, BESIDE_PRODUCT, *OTHERS.values()])
def test_everything_is_pinned(requirements):
    assert requirements
    for requirement in requirements:
        assert PIN.fullmatch(requirement), requirement


def test_every_version_says_what_operators_must_do():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions
    for version in versions:
        assert "\n### For operators\n" in version, version.splitlines()[0]
