"""What docs/cvat.md tells an operator to set, there is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "cvat"
DOCUMENT = (ROOT / "docs" / "cvat.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((FOLDER / "docker-compose.m2n2.yml").read_text(encoding="utf-8"))["services"]


def test_the_compose_file_sets_what_the_document_says_on_both_containers() -> None:
    told = set(re.findall(r"^\| `(CVAT_[A-Z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert told
    for name in ("cvat_server", "cvat_worker_annotation"):
        assert set(COMPOSE[name]["environment"]) == told


def test_the_programs_run_where_nothing_of_this_project_is() -> None:
    """The agent has the dependencies of cvat-cli, the function none."""
    own = {"PIL", "cvat_sdk"}
    allowed = {"agent.py": own, "proposer.py": own, "main.py": set(), "with_server.py": {"main"}}
    programs = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py")}
    assert set(programs) == set(allowed)
    for name, text in programs.items():
        imported = {module.partition(".")[0] for module in re.findall(r"^(?:import|from) ([\w.]+)", text, re.MULTILINE)}
        assert imported - sys.stdlib_module_names <= allowed[name], name
