"""The real compose client, asked what it makes of the files of deploy/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT

DEPLOY = ROOT / "deploy"
EXAMPLE = DEPLOY / ".env.example"

SERVERS = {"cpu": "m2n2", "gpu": "m2n2-gpu"}
"""Profile -> service; one of them runs."""

LABEL_STUDIOS = {"label-studio": {"label-studio"}, "label-studio-postgres": {"label-studio-postgres", "postgres"}}
"""Profile -> services; one of them runs, or none."""

OTHERS = {"tls": {"nginx"}, "monitoring": {"prometheus", "grafana"}}
"""Profile -> services; any of them."""

ALL = ",".join([*SERVERS, *LABEL_STUDIOS, *OTHERS])


def list_combinations() -> list[str]:
    """Every choice of profiles, as COMPOSE_PROFILES takes it."""
    parts = [""]
    for name in OTHERS:
        parts += [f"{part},{name}" for part in parts]
    studios = ["", *(f",{name}" for name in LABEL_STUDIOS)]
    return [f"{server}{studio}{part}" for server in SERVERS for studio in studios for part in parts]


def run_compose(*arguments: str | Path, folder: Path = DEPLOY, **variables: str) -> subprocess.CompletedProcess[str]:
    """The client in a folder, with nothing of this process' environment but where programs are."""
    command = [Path(sys.executable).with_name("docker-compose"), "--project-directory", folder, *arguments]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


def read_environment(project: Any, service: str) -> dict[str, str]:
    """Of a service in what ``config --format=json`` prints, which writes each dollar sign twice."""
    environment = project["services"][service]["environment"]
    return {name: value.replace("$$", "$") for name, value in environment.items()}


def find_server(project: Any) -> Any:
    """The service of this product, of which there is one for each device."""
    (name,) = set(SERVERS.values()) & set(project["services"])
    return project["services"][name]


def read_settings(project: Any) -> dict[str, str]:
    """The server's environment without its secrets' files, which are not on this machine."""
    environment = find_server(project)["environment"]
    return {name: value for name, value in environment.items() if not name.endswith("_FILE")}
