"""What deploy/cvat tells an operator to set, there is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from backend.settings import Settings, load_settings

FOLDER = Path(__file__).parents[2] / "deploy" / "cvat"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((FOLDER / "docker-compose.m2n2.yml").read_text(encoding="utf-8"))["services"]


def test_every_setting_exists() -> None:
    settings = {f"M2N2_{name.upper()}" for name in Settings.model_fields}
    for path in (path for path in FOLDER.rglob("*") if path.suffix in (".py", ".md", ".yml", ".yaml")):
        named = set(re.findall(r"\bM2N2_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8")))
        assert named <= settings, path


def test_every_file_that_the_readme_points_to_exists() -> None:
    targets = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert targets
    assert all((FOLDER / target).exists() for target in targets)


def test_the_compose_file_sets_what_the_readme_says_on_both_containers() -> None:
    told = set(re.findall(r"^\| `(CVAT_[A-Z_]+)` \|", README, re.MULTILINE))
    for name in ("cvat_server", "cvat_worker_annotation"):
        assert set(COMPOSE[name]["environment"]) == told


def test_the_compose_file_has_cvat_and_the_server_at_one_port() -> None:
    settings = load_settings(COMPOSE["m2n2"]["environment"])
    cvat = COMPOSE["cvat_server"]["environment"]
    assert (cvat["CVAT_NUCLIO_HOST"], cvat["CVAT_NUCLIO_PORT"]) == ("m2n2", str(settings.cvat_port))


def test_the_programs_run_where_nothing_of_this_project_is() -> None:
    """The agent has the dependencies of cvat-cli, the function none."""
    allowed = {"agent.py": {"PIL", "cvat_sdk"}, "main.py": set(), "with_server.py": {"main"}}
    programs = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py")}
    assert set(programs) == set(allowed)
    for name, text in programs.items():
        imported = {module.partition(".")[0] for module in re.findall(r"^(?:import|from) ([\w.]+)", text, re.MULTILINE)}
        assert imported - sys.stdlib_module_names <= allowed[name], name
