"""Archives of a release, built as they would be for an upload."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.paths import ROOT

TOOLS = ROOT / ".venv-release" / "bin"
"""Of the environment that the Makefile makes from tests/release/requirements.txt."""


def build(sources: Path, target: Path, *options: str) -> list[Path]:
    """Run ``python -m build`` on a copy of the sources; the archives that it leaves in ``target``.

    Args:
        sources: A copy, for setuptools writes into it.
        target: An existing folder.
        options: Of `build`; without any, the wheel is built from the source archive.
    """
    command = [TOOLS / "python", "-m", "build", *options, "--outdir", target, sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(target.iterdir())
