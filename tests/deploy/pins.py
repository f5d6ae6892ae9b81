"""The sets of pinned packages of this project, each for an environment of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def read_requirements(path: Path) -> list[str]:
    """The requirements of a file, without its comments."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def read_extras() -> list[str]:
    """Those of all extras of the product; an extra that takes another one in adds nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    return [requirement for requirement in extras if not requirement.startswith(project["name"])]


PRODUCT = read_requirements(ROOT / "requirements.txt")

PRODUCT_AND_EXTRAS = PRODUCT + read_extras()

BESIDE_PRODUCT = read_requirements(ROOT / "tests" / "label_studio_ml" / "requirements.txt")
"""They come beside the product's own and without their dependencies."""

OTHERS = {
    str(path.relative_to(ROOT)): read_requirements(path)
    for folder in ("deploy", "tests")
    for path in sorted((ROOT / folder).rglob("requirements*.txt"))
    if path.parent.name != "label_studio_ml"
}
"""Of environments that have nothing to do with the product's, by file."""
