"""The sources of the product by themselves, for setuptools writes into the folder that it builds from."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers.paths import ROOT

PACKAGES = ("backend", "m2n2_engine")

# What the Dockerfile copies, too.
SOURCES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", *PACKAGES)


def copy_sources(folder: Path) -> None:
    """Leave a copy of them in an existing folder."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
