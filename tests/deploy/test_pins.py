"""Every package that an environment of ours is asked for has one version."""

from __future__ import annotations

import re

import pytest
from pins import LABEL_STUDIO_ML, PINS, ROOT

PIN = re.compile(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*")


@pytest.mark.parametrize("name", [*PINS, "label-studio-ml"])
def test_everything_is_pinned(name):
    requirements = PINS.get(name, LABEL_STUDIO_ML)
    assert requirements
    for requirement in requirements:
        assert PIN.fullmatch(requirement), requirement


def test_every_file_of_requirements_is_known():
    known = {"requirements.txt", *(f"{folder}/requirements.txt" for folder in ("deploy/label_studio", "tests/e2e"))}
    found = {str(path.relative_to(ROOT)) for path in ROOT.rglob("requirements*.txt") if ".venv" not in str(path)}
    assert found == known | {"tests/label_studio_ml/requirements.txt"}


def test_every_version_says_what_operators_must_do():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions
    for version in versions:
        assert "\n### For operators\n" in version, version.splitlines()[0]
