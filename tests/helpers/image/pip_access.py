"""pip's configuration on this machine, for a build in another root. No place of packages is written down anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

_INSIDE = Path("/run/pip")


def share_pip(folder: Path) -> dict[str, str]:
    """Paths here -> paths in the build, to be mounted: the configuration, and the files and folders that it names.

    folder: made anew; holds the configuration and copies of the files.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mounts = {str(folder): str(_INSIDE), str(folder / "pip.conf"): "/etc/pip.conf"}
    lines = ["[global]"]
    for name, value in _settings().items():
        words = [_share(word, folder, mounts) for word in value.split()]
        lines.append(f"{name} = {' '.join(words)}")
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    return mounts


def _share(word: str, folder: Path, mounts: dict[str, str]) -> str:
    """The word as the build is to read it. A file is copied: in its own place it could be in a package's way."""
    path = Path(word.removeprefix("file://"))
    if path.is_absolute() and path.is_file():
        shutil.copy(path, folder)
        return str(_INSIDE / path.name)
    if path.is_absolute() and path.is_dir():
        # The pages of an index lie beside its files.
        shared = str(path.parent if word.startswith("file://") else path)
        mounts[shared] = shared
    return word


def _settings() -> dict[str, str]:
    """Option -> value; what the environment says wins."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines() if "=" in line]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {key.rpartition(".")[2]: value.strip("'\"") for key, value in ordered}
