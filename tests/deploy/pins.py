"""The sets of pinned packages of this project, each for an environment of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def read_requirements(path: str) -> list[str]:
    """The requirements of a file, without its comments."""
    lines = (ROOT / path).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def read_extras() -> list[str]:
    """Those of all extras of the product; an extra that takes another one in adds nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    return [requirement for requirement in extras if not requirement.startswith(project["name"])]


PINS = {
    "product": read_requirements("requirements.txt"),
    "product with its extras": read_requirements("requirements.txt") + read_extras(),
    "Label Studio": read_requirements("deploy/label_studio/requirements.txt"),
    "browser": read_requirements("tests/e2e/requirements.txt"),
}

LABEL_STUDIO_ML = read_requirements("tests/label_studio_ml/requirements.txt")
"""They come beside the product's own and without their dependencies."""
