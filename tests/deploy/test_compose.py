"""Each part of deploy/docker-compose.yml keeps to the same rules, as a real compose client sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.settings import load_settings
from tests.helpers.deploy.compose import ALL, LABEL_STUDIOS, SERVERS, find_server, read_settings
from tests.helpers.paths import ROOT


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
    studios = {"label-studio", "label-studio-postgres"}
    assert order == {
        "label-studio": set(),
        "label-studio-postgres": {"postgres"},
        "postgres": set(),
        "m2n2": studios,
        "m2n2-gpu": studios,
        "nginx": servers,
        "prometheus": servers,
        "grafana": {"prometheus"},
    }
    needs = {
        (name, of): need for of, service in services.items() for name, need in service.get("depends_on", {}).items()
    }
    assert all(need["condition"] == "service_healthy" for need in needs.values())
    # Of those that one profile has without the other, none is insisted on.
    required = {pair for pair, need in needs.items() if need["required"]}
    assert required == {("postgres", "label-studio-postgres"), ("prometheus", "grafana")}


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
    project = render(server)
    settings = load_settings(read_settings(project))
    published = {int(port["published"]): port["target"] for port in find_server(project)["ports"]}
    assert published == {settings.port: settings.port, settings.cvat_port: settings.cvat_port}


def test_the_gpu_is_reserved(render):
    reserved = render("gpu")["services"]["m2n2-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]


@pytest.mark.parametrize("server", SERVERS)
def test_the_server_has_what_its_image_gives_it_unless_it_is_told_otherwise(render, server):
    resources = render(server)["services"][SERVERS[server]]["deploy"]["resources"]["limits"]
    assert (resources["cpus"], int(resources["memory"])) == {"cpu": (4, 8 * 1024**3), "gpu": (8, 16 * 1024**3)}[server]


def test_the_server_takes_its_environment(render, tmp_path):
    """Empty secrets, as the script makes them, mean unset."""
    environment = render("cpu")["services"]["m2n2"]["environment"]
    empty = tmp_path / "secret"
    empty.touch()
    files = {name: str(empty) for name, value in environment.items() if value.startswith("/run/secrets/")}
    assert set(files) == {"LABEL_STUDIO_API_KEY_FILE", "M2N2_BASIC_AUTH_PASSWORD_FILE"}
    settings = load_settings({**environment, **files})
    assert settings.label_studio_url == "http://label-studio:8080"
    assert settings.cvat_port == 8070
    assert settings.basic_auth_password is None


@pytest.mark.parametrize("studio", LABEL_STUDIOS)
def test_a_private_backend_is_legal_and_nobody_is_told(render, studio):
    environment = render(f"cpu,{studio}")["services"][studio]["environment"]
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


@pytest.mark.parametrize("studio", LABEL_STUDIOS)
def test_label_studio_is_found_by_one_name_and_has_its_secrets(render, studio):
    service = render(f"cpu,{studio}")["services"][studio]
    aliases = (service["networks"]["default"] or {}).get("aliases", [studio])
    assert "label-studio" in aliases
    given = {value for name, value in service["environment"].items() if name.endswith("_FILE")}
    assert given == {secret["target"] for secret in service["secrets"]}
    assert given >= {"/run/secrets/label_studio_password", "/run/secrets/label_studio_secret_key"}


def test_label_studio_and_postgres_agree(render):
    services = render("cpu,label-studio-postgres")["services"]
    studio, postgres = services["label-studio-postgres"]["environment"], services["postgres"]["environment"]
    assert studio["DJANGO_DB"] == "default"
    assert (studio["POSTGRE_HOST"], studio["POSTGRE_PORT"]) == ("postgres", "5432")
    pairs = {"POSTGRE_NAME": "POSTGRES_DB", "POSTGRE_USER": "POSTGRES_USER"}
    pairs["POSTGRE_PASSWORD_FILE"] = "POSTGRES_PASSWORD_FILE"
    assert {studio[own]: postgres[other] for own, other in pairs.items()} == {studio[own]: studio[own] for own in pairs}
    assert "ports" not in services["postgres"]
    assert "platforms" not in services["postgres"]["networks"]


def test_tls_is_for_both_and_each_has_an_address(render):
    nginx = render("cpu,label-studio,tls")["services"]["nginx"]
    listened = {
        int(port)
        for volume in nginx["volumes"]
        for port in re.findall(r"^\s*listen (\d+) ssl;$", Path(volume["source"]).read_text(), re.MULTILINE)
    }
    assert listened == {port["target"] for port in nginx["ports"]} == {443, 8443}
    assert len({port["published"] for port in nginx["ports"]}) == 2


def test_what_must_not_be_committed_is_ignored():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    for name in (".env", "m2n2.env", "label-studio.env", "secrets"):
        assert {f"/deploy/{name}", f"/deploy/{name}/"} & set(ignored), name
        assert f"deploy/{name}" in left_out, name
