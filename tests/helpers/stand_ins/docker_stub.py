"""``docker`` in place of an engine: the real compose client checks every project, and nothing is started.

``python -m tests.helpers.stand_ins.docker_stub ARGUMENTS``, with PYTHONPATH at the project. Each call is added to the
file that DOCKER_CALLS names, one a line. A call of compose fails where its files, its options for choosing them or the
service that it names are not there. Networks that must be there before are looked for among those of the file
DOCKER_NETWORKS, to which ``up`` adds its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_FOR_FILES = ("-f", "--file", "--project-directory", "--env-file", "--project-name")
"""Options that come before a command, with a value each."""

_OF_ONE_SERVICE = ("exec", "run", "restart")


def main() -> None:
    """Do as docker would, and end with its status."""
    arguments = sys.argv[1:]
    with Path(os.environ["DOCKER_CALLS"]).open("a", encoding="utf-8") as calls:
        calls.write(json.dumps(arguments) + "\n")
    if arguments[0] == "compose":
        _compose(arguments[1:])


def _compose(arguments: list[str]) -> None:
    chosen = 0
    while arguments[chosen] in _FOR_FILES:
        chosen += 2
    files, (command, *rest) = arguments[:chosen], arguments[chosen:]
    words = [word for word in rest if not word.startswith("-")]
    profiles = ["--profile", "*"] if command == "run" else []
    project = json.loads(_ask([*files, *profiles, "config", "--format=json"]))
    if command in _OF_ONE_SERVICE and words[0] not in project["services"]:
        sys.exit(f"no such service: {words[0]}")
    if command == "up":
        if not project["services"]:
            sys.exit("no service selected")
        _join(project)


def _ask(arguments: list[str]) -> str:
    client = Path(sys.executable).with_name("docker-compose")
    done = subprocess.run([client, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def _join(project: dict[str, dict[str, dict[str, object]]]) -> None:
    """Raise SystemExit for a network that somebody else must have made; make the others."""
    file = Path(os.environ["DOCKER_NETWORKS"])
    known = set(file.read_text(encoding="utf-8").split())
    for network in project["networks"].values():
        name = str(network["name"])
        if network.get("external") and name not in known:
            sys.exit(f"network {name} declared as external, but could not be found")
        known.add(name)
    for service in project["services"].values():
        for secret in service.get("secrets", []):  # type: ignore[attr-defined]
            path = Path(str(project["secrets"][secret["source"]]["file"]))
            if not path.is_file():
                sys.exit(f"bind source path does not exist: {path}")
    file.write_text("\n".join(known), encoding="utf-8")


if __name__ == "__main__":
    main()
