"""The README is held to the code."""

import re
from pathlib import Path

from backend.settings import Settings, render_settings_table
from m2n2_engine.backbones import BACKBONES
from m2n2_engine.weights.store import WEIGHTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_settings_table_is_the_code_s_own():
    table = re.search(r"<!-- settings -->\n(.*)<!-- /settings -->", README, re.DOTALL)
    assert table is not None
    assert table[1].strip() == render_settings_table().strip()


def test_no_setting_is_named_that_does_not_exist():
    known = {"LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"} | {f"M2N2_{name.upper()}" for name in Settings.model_fields}
    documents = [README] + [
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("Dockerfile", "deploy/README.md", "deploy/docker-compose.yml", "deploy/.env.example")
    ]
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("backend", "m2n2_engine")
        for path in (ROOT / folder).rglob("*.py")
    ]
    named = {name for text in documents + sources for name in re.findall(r"\bM2N2_[A-Z][A-Z_]*[A-Z]\b", text)}
    assert named <= known


def test_every_file_that_it_points_to_exists():
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for name in re.findall(
        r"`((?:backend|backbones|cache|kernels|m2n2_engine|method|session)/[a-z_/]*(?:\.py)?)`", README
    ):
        assert (ROOT / name).exists() or (ROOT / "m2n2_engine" / name).exists(), name


def test_every_backbone_and_its_grid_is_named():
    for name, spec in BACKBONES.items():
        short = name.removeprefix("stable-diffusion") if name.startswith("stable-diffusion-2-") else name
        row = next((line for line in README.splitlines() if line.startswith("|") and f"`{short}`" in line), None)
        assert row is not None, name
        assert f"{spec.grid} x {spec.grid}" in row, name
    assert set(WEIGHTS) | {"tiny"} == set(BACKBONES)
