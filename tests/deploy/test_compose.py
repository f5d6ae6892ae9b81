"""A real compose client takes every profile of deploy/docker-compose.yml, and each part keeps to the same rules."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLE = DEPLOY / ".env.example"
SERVERS = {"cpu": "m2n2", "gpu": "m2n2-gpu"}
PROFILES = [f"{server}{parts}" for server in SERVERS for parts in ("", ",tls", ",monitoring", ",tls,monitoring")]
ALL = "cpu,gpu,tls,monitoring"


def compose(*arguments, **variables):
    """The client's result, with nothing of this process' environment but where programs are."""
    command = [Path(sys.executable).with_name("docker-compose"), "--project-directory", DEPLOY, *arguments]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def render():
    """Profiles -> the project as the client sees it, with .env as it is copied and a password."""

    @functools.cache
    def render(profiles):
        result = compose(
            "--env-file", EXAMPLE, "config", "--format=json", COMPOSE_PROFILES=profiles, LABEL_STUDIO_PASSWORD="x"
        )
        assert (result.returncode, result.stderr) == (0, "")
        return json.loads(result.stdout)

    return render


@pytest.fixture
def cvat(tmp_path):
    """CVAT's project with deploy/cvat/docker-compose.m2n2.yml added, as the client sees it."""
    file = tmp_path / "docker-compose.yml"
    # Of CVAT's own file, what ours adds to.
    file.write_text(
        """
services:
  cvat_server: {image: cvat/server, environment: {CVAT_SERVERLESS: "", ALLOWED_HOSTS: "*"}, networks: [cvat]}
  cvat_worker_annotation: {image: cvat/server, environment: {CVAT_SERVERLESS: ""}, networks: [cvat]}
networks: {cvat: {}}
"""
    )
    files = ["--file", file, "--file", DEPLOY / "cvat" / "docker-compose.m2n2.yml"]
    result = compose(*files, "config", "--format=json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)["services"]


def test_cvat_asks_the_server_that_is_added_to_it(cvat):
    for name in ("cvat_server", "cvat_worker_annotation"):
        environment = cvat[name]["environment"]
        assert (environment["CVAT_SERVERLESS"], environment["CVAT_NUCLIO_HOST"]) == ("1", "m2n2")
        assert set(cvat[name]["networks"]) & set(cvat["m2n2"]["networks"])
    assert cvat["cvat_server"]["environment"]["ALLOWED_HOSTS"] == "*"


def test_the_server_beside_cvat_is_locked_down_as_ever(cvat, render):
    known = ("read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period")
    expected = render("cpu")["services"]["m2n2"]
    assert {name: cvat["m2n2"][name] for name in known} == {name: expected[name] for name in known}
    assert cvat["m2n2"]["deploy"]["resources"] == expected["deploy"]["resources"]
    assert {volume["target"] for volume in cvat["m2n2"]["volumes"]} == {"/weights", "/cache"}
    assert "ports" not in cvat["m2n2"]


@pytest.mark.parametrize("profiles", PROFILES)
def test_a_profile_has_its_parts(render, profiles):
    server, *parts = profiles.split(",")
    expected = {"label-studio", SERVERS[server]}
    expected |= {"nginx"} if "tls" in parts else set()
    expected |= {"prometheus", "grafana"} if "monitoring" in parts else set()
    assert set(render(profiles)["services"]) == expected


def test_the_copied_env_chooses_the_processor():
    result = compose("--env-file", EXAMPLE, "config", "--services", LABEL_STUDIO_PASSWORD="x")
    assert set(result.stdout.split()) == {"label-studio", "m2n2"}


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(["--env-file", "/dev/null"], "copy .env.example to .env"), (["--env-file", EXAMPLE], "set the first account's")],
)
def test_what_is_not_filled_in_is_named(arguments, remedy):
    result = compose(*arguments, "config")
    assert result.returncode != 0
    assert remedy in result.stderr


def test_every_part_is_limited_healthy_pinned_and_restarted(render):
    for name, service in render(ALL)["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits["cpus"] > 0, name
        assert int(limits["memory"]) > 0, name
        assert service["restart"] == "unless-stopped", name
        assert "max-size" in service["logging"]["options"], name
        assert "latest" not in service["image"], name
        assert ":" in service["image"], name
        # Those of this product have theirs in the image.
        assert "healthcheck" in service or "build" in service, name


def test_parts_start_when_what_they_need_is_healthy(render):
    services = render(ALL)["services"]
    order = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    servers = set(SERVERS.values())
    assert order == {
        "label-studio": set(),
        "m2n2": {"label-studio"},
        "m2n2-gpu": {"label-studio"},
        "nginx": servers,
        "prometheus": servers,
        "grafana": {"prometheus"},
    }
    needs = [need for service in services.values() for need in service.get("depends_on", {}).values()]
    assert all(need["condition"] == "service_healthy" for need in needs)


@pytest.mark.parametrize("server", SERVERS)
def test_the_server_is_locked_down_and_writes_to_its_volumes_alone(render, server):
    service = render(server)["services"][SERVERS[server]]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {(volume["source"], volume["target"]) for volume in service["volumes"]} == {
        ("weights", "/weights"),
        ("cache", "/cache"),
    }
    assert service["build"]["target"] == {"cpu": "cpu", "gpu": "cuda"}[server]
    assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}
    assert service["stop_grace_period"] == "1m50s"


@pytest.mark.parametrize("server", SERVERS)
def test_label_studio_and_cvat_have_a_port_each(render, server):
    service = render(server)["services"][SERVERS[server]]
    settings = load_settings({name: value for name, value in service["environment"].items() if "FILE" not in name})
    published = {int(port["published"]): port["target"] for port in service["ports"]}
    assert published == {settings.port: settings.port, settings.cvat_port: settings.cvat_port}


def test_the_gpu_is_reserved(render):
    reserved = render("gpu")["services"]["m2n2-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert render("gpu")["services"]["m2n2-gpu"]["networks"]["default"]["aliases"] == ["m2n2"]


def test_the_server_takes_its_environment(render, tmp_path):
    """Empty secrets, as the guide makes them, mean unset."""
    environment = render("cpu")["services"]["m2n2"]["environment"]
    empty = tmp_path / "secret"
    empty.touch()
    files = {name: str(empty) for name, value in environment.items() if value.startswith("/run/secrets/")}
    assert set(files) == {"LABEL_STUDIO_API_KEY_FILE", "M2N2_BASIC_AUTH_PASSWORD_FILE"}
    settings = load_settings({**environment, **files})
    assert settings.label_studio_url == "http://label-studio:8080"
    assert settings.cvat_port == 8070
    assert settings.basic_auth_password is None


def test_a_private_backend_is_legal_and_nobody_is_told(render):
    environment = render("cpu")["services"]["label-studio"]["environment"]
    expected = {
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    assert {name: environment[name] for name in expected} == expected


def test_what_is_mounted_is_there_or_made_by_the_operator(render):
    project = render(ALL)
    mounted = {
        Path(volume["source"])
        for service in project["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    }
    assert mounted
    assert {path for path in mounted if not path.exists()} == set()
    guide = (DEPLOY.parent / "docs" / "operate" / "containers.md").read_text()
    for secret in project["secrets"].values():
        assert f"secrets/{Path(secret['file']).name}" in guide
