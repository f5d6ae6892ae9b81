"""What operators read is held to the files and settings that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCUMENTS = [*sorted(DEPLOY.rglob("*.md")), ROOT / "tests" / "deploy_heavy" / "README.md"]
OPERATED = sorted(
    [DEPLOY / name for name in ("BARE_METAL.md", "LIMITS.md", "UPGRADES.md")]
    + [path for folder in ("kubernetes", "nginx", "systemd") for path in (DEPLOY / folder).rglob("*.*")]
)


def slugify(heading):
    """The anchor of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", document.read_text()):
        path = document.parent / target if target else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in map(slugify, headings), f"{target}#{anchor}"


@pytest.mark.parametrize("path", OPERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_are_named_exist(path):
    known = {f"M2N2_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bM2N2_[A-Z][A-Z_]*[A-Z]\b", path.read_text())) <= known


@pytest.mark.parametrize("path", OPERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_deploy_that_are_named_exist(path):
    for name in re.findall(r"\bdeploy/[\w./@-]+\w", path.read_text()):
        assert (ROOT / name).exists(), name
