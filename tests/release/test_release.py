"""What a release consists of: a source archive, and a wheel that is built from it. `make release-check` runs this."""

from __future__ import annotations

import email
import email.message
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from m2n2_engine import __version__
from tests.helpers.deploy.pins import EXTRAS, PRODUCT
from tests.helpers.paths import ROOT
from tests.helpers.release import TOOLS, build
from tests.helpers.sources import PACKAGES

NAME = f"m2n2_annotation-{__version__}"
BESIDE_PACKAGES = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "requirements.txt", "setup.cfg"}
DIST = ROOT / "dist"


def list_tracked() -> list[str]:
    """The files of the checkout, and none of what lies beside them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Suffix -> archive, left in dist for who uploads them."""
    sources, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("dist")
    for name in list_tracked():
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, sources / name)
    built = build(sources, target)
    DIST.mkdir(exist_ok=True)
    return {path.suffix: Path(shutil.copy(path, DIST)) for path in built}


@pytest.fixture(scope="module")
def in_sources(archives: dict[str, Path]) -> set[str]:
    with tarfile.open(archives[".gz"]) as archive:
        return {member.name.removeprefix(f"{NAME}/") for member in archive.getmembers() if member.isfile()}


@pytest.fixture(scope="module")
def in_wheel(archives: dict[str, Path]) -> set[str]:
    with zipfile.ZipFile(archives[".whl"]) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(archives: dict[str, Path]) -> email.message.Message:
    with zipfile.ZipFile(archives[".whl"]) as archive:
        return email.message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))


def test_both_archives_are_named_by_the_version(archives: dict[str, Path]) -> None:
    assert {path.name for path in archives.values()} == {f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl"}


def test_the_package_index_would_take_them_and_show_the_readme(archives: dict[str, Path]) -> None:
    command = [TOOLS / "python", "-m", "twine", "check", "--strict", *archives.values()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_readme_is_shown_with_its_headings_tables_and_code(metadata: email.message.Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    code = "import sys; from readme_renderer import markdown; print(markdown.render(sys.stdin.read()))"
    text = str(metadata.get_payload())
    done = subprocess.run([TOOLS / "python", "-c", code], input=text, capture_output=True, text=True, check=True)
    outside_of_code = "".join(text.split("```")[::2])
    for heading in [line.lstrip("# ") for line in outside_of_code.splitlines() if line.startswith("#")]:
        assert f">{heading}<a href=" in done.stdout, heading
    assert done.stdout.count("<table>") >= 2
    assert "make run" in done.stdout


def test_the_metadata_says_what_is_needed(metadata: email.message.Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("m2n2-annotation", __version__)
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.11", "MIT")
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(needed) == sorted(PRODUCT)
    assert set(metadata.get_all("Provides-Extra", [])) == set(EXTRAS)


def test_the_wheel_has_every_file_of_the_packages_the_command_and_the_licence(in_wheel: set[str]) -> None:
    packages = {name for name in list_tracked() if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    described = {name for name in in_wheel if name.startswith(f"{NAME}.dist-info/")}
    assert in_wheel - described == packages
    assert {f"{NAME}.dist-info/{name}" for name in ("entry_points.txt", "licenses/LICENSE")} <= described


def test_the_source_archive_has_what_a_wheel_is_built_from_and_nothing_else(
    in_sources: set[str], in_wheel: set[str]
) -> None:
    packages = {name for name in in_wheel if ".dist-info/" not in name}
    assert packages <= in_sources
    assert {name for name in in_sources - packages if ".egg-info/" not in name} == BESIDE_PACKAGES


def test_a_tag_of_this_commit_is_the_version() -> None:
    tags = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [tag for tag in tags.stdout.split() if tag.startswith("v") and tag != f"v{__version__}"] == []
