"""The commands of docs/operate/containers.md and docs/cvat.md are followed to the letter, without an engine.

A stand-in for ``docker`` has the real compose client read every project that a command is for. It starts nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from backend.cli.main import app
from m2n2_engine.weights.catalogue import WEIGHTS
from tests.helpers.deploy.compose import list_combinations
from tests.helpers.paths import ROOT

BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CVAT = """
services:
  cvat_server: {image: cvat/server, networks: [cvat]}
  cvat_worker_annotation: {image: cvat/server, networks: [cvat]}
networks: {cvat: {}}
"""


def read_blocks(document, heading):
    """Code blocks for the shell, from a heading to the next one of its rank."""
    text = (ROOT / document).read_text(encoding="utf-8")
    rank, _, _ = heading.partition(" ")
    part = text.split(f"\n{heading}\n")[1].split(f"\n{rank} ")[0]
    return BLOCK.findall(part)


@pytest.fixture
def machine(tmp_path):
    """A clone of the project and of CVAT on a machine with the stand-in. Code -> the calls of docker."""
    project, cvat, programs = tmp_path / "project", tmp_path / "cvat", tmp_path / "bin"
    leave = shutil.ignore_patterns("secrets", ".env", "m2n2.env", "label-studio.env")
    shutil.copytree(ROOT / "deploy", project / "deploy", ignore=leave)
    shutil.copytree(ROOT / "deploy" / "defaults", project / "deploy" / "defaults", dirs_exist_ok=True)
    cvat.mkdir()
    (cvat / "docker-compose.yml").write_text(CVAT)
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.helpers.stand_ins.docker_stub "$@"\n')
    docker.chmod(0o755)
    calls, networks = tmp_path / "calls", tmp_path / "networks"
    networks.touch()
    places = {"DOCKER_CALLS": str(calls), "DOCKER_NETWORKS": str(networks), "PYTHONPATH": str(ROOT)}
    environment = {**places, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def follow(code, folder=project, **variables):
        code = code.replace("cd .../cvat", f"cd {cvat}").replace(" .../", f" {project}/")
        result = subprocess.run(
            ["bash", "-e", "-c", code],
            cwd=folder,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{code}\n{result.stderr}"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    follow.project = project
    return follow


def profiles_of(code):
    """Those that an operator has where a command names a service."""
    return "gpu" if "m2n2-gpu" in code else "cpu,label-studio"


def test_the_guide_to_compose_is_followed(machine):
    first, *others = read_blocks("docs/operate/containers.md", "## Compose")
    assert machine(first) == [["compose", "up", "--detach", "--build", "--wait"]]
    deploy = machine.project / "deploy"
    secrets = {path.name: path.read_text() for path in (deploy / "secrets").iterdir()}
    for code in others:
        assert machine(code, deploy, COMPOSE_PROFILES=profiles_of(code)) or "docker" not in code, code
    kept = {path.name: path.read_text() for path in (deploy / "secrets").iterdir()}
    assert {name for name in secrets if kept[name] != secrets[name]} == {"label_studio_api_key", "basic_auth_password"}
    assert kept["label_studio_api_key"] == "the token"
    assert set(kept) - set(secrets) == {"tls.crt", "tls.key"}


@pytest.mark.parametrize("profiles", list_combinations())
def test_every_choice_of_profiles_finds_what_it_mounts(machine, profiles):
    script = "cp .env.example .env; ./make_secrets.sh" + (" --tls localhost" if "tls" in profiles else "")
    machine(f"{script}; docker compose up --detach", machine.project / "deploy", COMPOSE_PROFILES=profiles)


def test_the_stand_in_would_notice(machine):
    deploy = machine.project / "deploy"
    for code in (
        "docker compose up",  # no profile, no secret
        "COMPOSE_PROFILES=cpu docker compose up",
        "COMPOSE_PROFILES=cpu docker compose exec m2n2-gpu m2n2 doctor",
        "docker compose -f nothing.yml config",
        "cd .../cvat; docker compose -f docker-compose.yml -f .../deploy/cvat/docker-compose.m2n2.yml up",
    ):
        with pytest.raises(AssertionError):
            machine(code, deploy)


def test_cvat_s_page_is_followed(machine):
    (_, together, *_) = read_blocks("docs/cvat.md", "## 1. In place of nuclio")
    deploy = machine.project / "deploy"
    machine("cp .env.example .env; ./make_secrets.sh", deploy)
    first, second = machine(together, COMPOSE_PROFILES="gpu")
    assert "up" in first
    assert "up" in second


def test_commands_inside_the_containers_exist():
    """Of the server's program, and names of weights that can be fetched."""
    commands = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    text = "\n".join(code for code in read_blocks("docs/operate/containers.md", "## Compose"))
    named = re.findall(r"m2n2(?:-gpu)? m2n2 ([a-z-]+) ?([a-z0-9-]*) ?([a-z0-9-]*)", text)
    assert named
    for command, subcommand, name in named:
        assert command in commands
        assert subcommand != "get" or name in WEIGHTS
