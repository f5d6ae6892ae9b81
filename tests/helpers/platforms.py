"""Does every requirement have a wheel for other systems and other Pythons? ``python -m tests.helpers.platforms``

Asks pip's resolver for each system and each Python, by names and tags, as far as possible without downloading. What the
requirements need themselves is taken from this environment, for pip evaluates conditions such as ``platform_system`` by
the machine that it runs on. Nothing is run there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

from packaging.requirements import Requirement

from tests.helpers.paths import ROOT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux x86-64": [f"manylinux{glibc}_x86_64" for glibc in ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "2014")],
    "Linux ARM64": [f"manylinux{glibc}_aarch64" for glibc in ("_2_28", "_2_27", "_2_26", "_2_24", "_2_17", "2014")],
    "macOS ARM64": [f"macosx_{release}_0_arm64" for release in (14, 13, 12, 11)],
    "macOS x86-64": [f"macosx_{release}_x86_64" for release in ("14_0", "13_0", "12_0", "11_0", "10_15", "10_13")],
}
"""Names of people -> tags of wheels, the newest first: Debian 12 has glibc 2.36, macOS 14 is what torch wants."""

_LACKING = re.compile(r"No matching distribution found for (\S+)")


def find_pins(names: Sequence[str]) -> dict[str, str]:
    """Distribution -> the release that is installed here, for some and for all that they need."""
    pins: dict[str, str] = {}
    open_names = list(names)
    while open_names:
        name = re.sub(r"[-_.]+", "-", open_names.pop()).lower()
        if name in pins:
            continue
        found = importlib.metadata.distribution(name)
        # A build of torch for another kind of device has the same release.
        pins[name] = found.version.partition("+")[0]
        needed = (Requirement(line) for line in found.requires or ())
        open_names += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return pins


def find_lacking(pins: dict[str, str], tags: Sequence[str], python: str) -> Iterator[str]:
    """The requirements that have no wheel for these tags and this Python."""
    rest = dict(pins)
    with tempfile.TemporaryDirectory() as folder:
        while rest:
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--dry-run",
                "--ignore-installed",
                "--no-deps",
                "--quiet",
            ]
            command += ["--target", folder, "--only-binary=:all:", "--python-version", python]
            command += [word for tag in tags for word in ("--platform", tag)]
            command += [f"{name}=={version}" for name, version in rest.items()]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            lacking = _LACKING.search(done.stderr)
            if lacking is None:
                raise SystemExit(done.stderr)
            yield lacking[1]
            del rest[lacking[1].partition("==")[0]]


def main() -> None:
    """Print a line for each system and Python; status 1 where something is lacking."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", choices=PLATFORMS, action="append", help="only this one; may be repeated")
    parser.add_argument("--python", choices=PYTHONS, action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = find_pins([Requirement(line).name for line in lines if line and not line.startswith("#")])
    is_whole = True
    for platform in options.platform or PLATFORMS:
        for python in options.python or PYTHONS:
            lacking = list(find_lacking(pins, PLATFORMS[platform], python))
            is_whole = is_whole and not lacking
            verdict = f"lacks {', '.join(lacking)}" if lacking else "ok"
            sys.stdout.write(f"{platform:13} Python {python:5} {len(pins)} packages: {verdict}\n")
            sys.stdout.flush()
    sys.exit(not is_whole)


if __name__ == "__main__":
    main()
