"""Every profile of deploy/docker-compose.yml has its parts, and every value that an operator sets wins over ours."""

from __future__ import annotations

import re

import pytest

from tests.helpers.deploy.compose import (
    ALL,
    DEPLOY,
    EXAMPLE,
    LABEL_STUDIOS,
    OTHERS,
    SERVERS,
    list_combinations,
    read_environment,
    run_compose,
)

SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")


# --- which parts run


@pytest.mark.parametrize("profiles", list_combinations())
def test_a_profile_has_its_parts(render, profiles):
    server, *parts = profiles.split(",")
    expected = {SERVERS[server]}.union(*((LABEL_STUDIOS | OTHERS)[part] for part in parts))
    assert set(render(profiles)["services"]) == expected


def test_the_copied_env_chooses_the_processor_and_label_studio():
    result = run_compose("--env-file", EXAMPLE, "config", "--services")
    assert set(result.stdout.split()) == {"label-studio", "m2n2"}


def test_without_an_env_no_value_is_missing():
    """As where Label Studio runs elsewhere, and CVAT alone is asked for."""
    result = run_compose("--env-file", "/dev/null", "config", "--services", COMPOSE_PROFILES="cpu")
    assert (result.returncode, result.stderr, result.stdout.split()) == (0, "", ["m2n2"])


# --- what an operator sets


def read_defaults(name):
    return dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "defaults" / name).read_text(), re.MULTILINE))


CHOICES = [
    ("m2n2", "m2n2.env", ["m2n2.env"]),
    ("m2n2-gpu", "m2n2.env", ["m2n2.env"]),
    ("label-studio", "label-studio.env", ["label-studio.env"]),
    ("label-studio-postgres", "label-studio.env", ["label-studio.env", "postgres.env"]),
]


@pytest.mark.parametrize(("service", "file", "defaults"), CHOICES)
def test_every_value_of_the_operator_s_file_wins(deployment, service, file, defaults):
    names = {name for one in defaults for name in read_defaults(one)}
    assert names
    project = deployment(**{file: "".join(f"{name}=own\n" for name in names) + "ANOTHER='a $ stays'\n"})
    assert read_environment(project, service) == dict.fromkeys(names, "own") | {"ANOTHER": "a $ stays"}


@pytest.mark.parametrize(("service", "file", "defaults"), CHOICES)
def test_every_value_of_env_wins_over_ours_and_the_file_over_both(deployment, service, file, defaults):
    names = [name for one in defaults for name, value in read_defaults(one).items() if value.startswith("${")]
    assert names
    changed = {".env": "".join(f"{name}=from-env\n" for name in names)}
    environment = read_environment(deployment(**changed), service)
    assert {name: environment[name] for name in names} == dict.fromkeys(names, "from-env")
    environment = read_environment(deployment(**changed, **{file: f"{names[0]}=own\n"}), service)
    assert environment[names[0]] == "own"


def test_a_label_studio_elsewhere_is_an_address_in_env(deployment):
    example = EXAMPLE.read_text().replace("#LABEL_STUDIO_URL=", "LABEL_STUDIO_URL=")
    project = deployment(**{".env": example})
    assert read_environment(project, "m2n2")["LABEL_STUDIO_URL"] == "https://labels.example.com"


def test_a_dollar_sign_is_kept_as_the_example_writes_it(deployment):
    examples = re.findall(r"^#   NAME=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        for file, other in ((".env", "label-studio.env"), ("label-studio.env", ".env")):
            project = deployment(**{file: f"LABEL_STUDIO_USERNAME={example}\n", other: ""})
            shown = read_environment(project, "label-studio")["LABEL_STUDIO_USERNAME"]
            assert shown == example.strip("'").replace("$$", "$")
            assert "$" in shown


def test_no_secret_stands_in_a_file_that_is_read_as_text(render):
    for service in render(ALL)["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert value.startswith("/run/secrets/"), name
    assert not [name for name in re.findall(r"^#?(\w+)=", EXAMPLE.read_text(), re.MULTILINE) if SECRET.search(name)]
