"""Label Studio and CVAT ask one server, by deploy/docker-compose.yml and deploy/cvat/docker-compose.m2n2.yml."""

from __future__ import annotations

import json

import pytest

from backend.settings import load_settings
from tests.helpers.deploy.compose import ALL, DEPLOY, SERVERS, find_server, read_settings, run_compose

PLATFORMS = "m2n2-platforms"


@pytest.fixture
def cvat(tmp_path):
    """CVAT's project with deploy/cvat/docker-compose.m2n2.yml added, as the client sees it."""
    file = tmp_path / "docker-compose.yml"
    # Of CVAT's own file, what ours adds to.
    file.write_text(
        """
services:
  cvat_server:
    image: cvat/server
    environment: {CVAT_SERVERLESS: "", ALLOWED_HOSTS: "*"}
    labels: {traefik.enable: "true"}
    networks: {cvat: {aliases: [cvat-server]}}
  cvat_worker_annotation: {image: cvat/server, environment: {CVAT_SERVERLESS: ""}, networks: [cvat]}
networks: {cvat: {}}
"""
    )
    files = ["--file", file, "--file", DEPLOY / "cvat" / "docker-compose.m2n2.yml"]
    result = run_compose("--project-name", "cvat", *files, "config", "--format=json", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.mark.parametrize("server", SERVERS)
def test_cvat_asks_the_server_that_label_studio_asks(cvat, render, server):
    for name in ("cvat_server", "cvat_worker_annotation"):
        environment = cvat["services"][name]["environment"]
        assert environment["CVAT_SERVERLESS"] == "1"
        host, port = environment["CVAT_NUCLIO_HOST"], int(environment["CVAT_NUCLIO_PORT"])
        shared = {cvat["networks"][network]["name"] for network in cvat["services"][name]["networks"]}
        assert shared == {"cvat_cvat", PLATFORMS}
    assert cvat["networks"]["platforms"]["external"] is True
    project = render(f"{server},label-studio")
    joined = {project["networks"][name]["name"]: one for name, one in find_server(project)["networks"].items()}
    assert host in joined[PLATFORMS]["aliases"]
    assert host in joined["m2n2_default"]["aliases"]
    assert load_settings(read_settings(project)).cvat_port == port


def test_cvat_starts_no_server_of_its_own_and_keeps_what_it_has(cvat):
    assert set(cvat["services"]) == {"cvat_server", "cvat_worker_annotation"}
    server = cvat["services"]["cvat_server"]
    assert server["environment"]["ALLOWED_HOSTS"] == "*"
    assert server["networks"]["cvat"]["aliases"] == ["cvat-server"]
    # Its proxy is in one of the two networks.
    assert server["labels"] == {"traefik.enable": "true", "traefik.docker.network": cvat["networks"]["cvat"]["name"]}


def test_cvat_reaches_the_server_and_nothing_else(render):
    project = render(ALL)
    joined = {name for name, service in project["services"].items() if "platforms" in service["networks"]}
    assert joined == set(SERVERS.values())
