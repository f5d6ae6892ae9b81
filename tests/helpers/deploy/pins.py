"""The sets of pinned packages of this project, each for an environment of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.helpers.paths import ROOT


def read_requirements(path: Path) -> list[str]:
    """The requirements of a file, without its comments."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def read_extras() -> dict[str, list[str]]:
    """Those of each extra of the product; an extra that takes another one in adds nothing by that."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        name: [requirement for requirement in extra if not requirement.startswith(project["name"])]
        for name, extra in project["optional-dependencies"].items()
    }


PRODUCT = read_requirements(ROOT / "requirements.txt")

EXTRAS = read_extras()

PRODUCT_AND_EXTRAS = PRODUCT + [requirement for extra in EXTRAS.values() for requirement in extra]

BESIDE_PRODUCT = read_requirements(ROOT / "tests" / "label_studio_ml" / "requirements.txt")
"""It comes beside the product with its extra, and without its dependencies."""

OTHERS = {
    str(path.relative_to(ROOT)): read_requirements(path)
    for folder in ("backend", "tests")
    for path in sorted((ROOT / folder).rglob("requirements*.txt"))
    if path.parent.name != "label_studio_ml"
}
"""Of environments that have nothing to do with the product's, by file."""
