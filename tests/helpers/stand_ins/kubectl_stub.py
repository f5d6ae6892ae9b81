"""``kubectl`` in place of a cluster: the real client makes what it would send, and it is kept in a file.

``python -m tests.helpers.stand_ins.kubectl_stub ARGUMENTS``, with PYTHONPATH at the project. KUBECTL names the real
one, KUBECTL_SENT the file: JSON, one object a line.

It proves that kubectl takes each ``create`` with its options and files, that it renders each folder, that nothing is
created twice or in a namespace that is not there, and that a rollout is of something applied whose Secrets are there.
It does not prove that an API server takes the objects, nor that a pod starts. An unknown command is an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def main() -> None:
    """Do as kubectl would, and end with its status."""
    arguments = sys.argv[1:]
    namespace = "default"
    if arguments[:1] == ["--namespace"]:
        namespace, arguments = arguments[1], arguments[2:]
    match arguments:
        case ["create", *_, "--dry-run=client", "--output=yaml"]:
            sys.stdout.write(_ask("--namespace", namespace, *arguments))
        case ["create", *_]:
            made = _ask("--namespace", namespace, *arguments, "--dry-run=client", "--output=yaml")
            _send(made, namespace, is_new=True)
        case ["apply", "--kustomize", folder]:
            _send(_ask("kustomize", folder), namespace)
        case ["apply", "--filename", "-"]:
            _send(sys.stdin.read(), namespace)
        case ["rollout", "status", workload]:
            _look_at(workload, namespace)
        case _:
            sys.exit(f"kubectl {' '.join(arguments)}: not known here")


def _ask(*arguments: str) -> str:
    done = subprocess.run([os.environ["KUBECTL"], *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def _read_sent() -> list[Manifest]:
    return [json.loads(line) for line in Path(os.environ["KUBECTL_SENT"]).read_text(encoding="utf-8").splitlines()]


def _identify(manifest: Manifest) -> tuple[str, str, str | None]:
    return manifest["kind"].lower(), manifest["metadata"]["name"], manifest["metadata"].get("namespace")


def _send(text: str, namespace: str, *, is_new: bool = False) -> None:
    for manifest in yaml.safe_load_all(text):
        # The real client leaves it empty, for the server to fill.
        manifest["metadata"].pop("creationTimestamp", None)
        if manifest["kind"] != "Namespace":
            manifest["metadata"].setdefault("namespace", namespace)
        known = {_identify(one) for one in _read_sent()}
        place = manifest["metadata"].get("namespace", "default")
        if place != "default" and ("namespace", place, None) not in known:
            sys.exit(f"there is no namespace {place}")
        if is_new and _identify(manifest) in known:
            sys.exit(f"{manifest['kind']} {manifest['metadata']['name']} already exists")
        with Path(os.environ["KUBECTL_SENT"]).open("a", encoding="utf-8") as sent:
            sent.write(json.dumps(manifest) + "\n")


def _look_at(workload: str, namespace: str) -> None:
    kind, _, name = workload.partition("/")
    sent = {_identify(one): one for one in _read_sent()}
    if (kind, name, namespace) not in sent:
        sys.exit(f"there is no {workload} in {namespace}")
    for container in sent[kind, name, namespace]["spec"]["template"]["spec"]["containers"]:
        for secret in (source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source):
            if ("secret", secret, namespace) not in sent:
                sys.exit(f"{workload} needs the secret {secret}")


if __name__ == "__main__":
    main()
