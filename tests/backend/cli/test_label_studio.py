"""The commands of ``m2n2 label-studio``: options, settings and exit status."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backend.cli.main import app
from backend.label_studio import project_check
from backend.label_studio.project_check import Finding
from backend.label_studio.project_setup import HINTS, Kinds, render_label_config

OK = Finding("click", "a mask", is_ok=True)


@pytest.fixture
def m2n2(monkeypatch):
    """Runs the command line in an environment without settings of its own."""

    def run(*arguments, findings=(OK,), **environ):
        for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "M2N2_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(project_check, "check_project", lambda *asked: run.asked.append(asked) or findings)
        return CliRunner().invoke(app, ["label-studio", *arguments])

    run.asked = []
    return run


def test_config_prints_the_configuration_and_nothing_else(m2n2):
    result = m2n2("config", "--labels", "Car, Person")
    assert (result.exit_code, result.stdout) == (0, render_label_config(["Car", "Person"]))


def test_config_prints_what_is_chosen(m2n2):
    result = m2n2("config", "--labels", "Car", "--prompts", "points,boxes", "--answers", "bitmask,polygon")
    kinds = Kinds(("points", "boxes"), ("bitmask", "polygon"))
    assert (result.exit_code, result.stdout) == (0, render_label_config(["Car"], kinds))


def test_check_takes_address_and_token_from_the_settings(m2n2):
    result = m2n2(
        "check", "--project", "3", LABEL_STUDIO_URL="http://ls", LABEL_STUDIO_API_KEY="0123abcd", M2N2_PORT="9191"
    )
    assert result.exit_code == 0, result.output
    ((client, project, backend),) = m2n2.asked
    assert (client.url, client.token_kind, project, backend.url) == (
        "http://ls",
        "legacy token",
        3,
        "http://localhost:9191",
    )
    assert all(hint in result.stdout for hint in HINTS)


def test_options_come_before_the_settings(m2n2):
    m2n2("check", "--project", "3", "--url", "http://other", "--token", "a.b.c", LABEL_STUDIO_URL="http://ls")
    ((client, _, _),) = m2n2.asked
    assert (client.url, client.token_kind) == ("http://other", "personal access token")


def test_a_problem_is_printed_and_ends_with_status_1(m2n2):
    problem = Finding("model", "no [model] is connected", is_ok=False)
    result = m2n2("check", "--project", "3", "--url", "http://ls", "--token", "x", findings=(OK, problem))
    assert result.exit_code == 1
    assert "problem model        no [model] is connected" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--project", "3"], "LABEL_STUDIO_API_KEY"),
        (["check", "--project", "Cars", "--url", "http://ls", "--token", "x"], "is no number"),
        (["connect", "--project", "Cars", "--url", "http://ls", "--token", "x"], "--create"),
        (["connect", "--project", "3", "--answers", "polygon", "--url", "http://ls", "--token", "x"], "--labels too"),
    ],
)
def test_what_is_missing_is_named(m2n2, arguments, message):
    result = m2n2(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_connect_creates_a_project_and_attaches_the_backend(m2n2, server):
    server.answer("/api/projects/", b'{"id": 7}', 201)
    server.answer("/api/ml?project=7", b"[]")
    server.answer("/api/ml", b"{}", 201)
    result = m2n2(
        *("connect", "--project", "Cars", "--create", "--labels", "Car"),
        *("--backend", "http://m2n2:9090/", "--url", server.url, "--token", "x"),
    )
    assert result.exit_code == 0, result.output
    project, model = (json.loads(body) for method, _, _, body in server.seen if method == "POST")
    assert (project["title"], project["label_config"]) == ("Cars", render_label_config(["Car"]))
    assert (model["project"], model["url"]) == (7, "http://m2n2:9090")
    assert f"project 7 created: {server.url}/projects/7" in result.stdout
    assert m2n2.asked[0][1] == 7


def test_connect_replaces_the_labels_of_a_project_only_where_it_is_told_to(m2n2, server):
    server.answer("/api/ml?project=3", b"[]")
    server.answer("/api/ml", b"{}", 201)
    server.answer("/api/projects/3/", b'{"expert_instruction": "Click."}')
    common = ("connect", "--project", "3", "--url", server.url, "--token", "x")
    assert m2n2(*common).exit_code == 0
    assert [method for method, *_ in server.seen] == ["GET", "GET", "POST"]
    assert m2n2(*common, "--labels", "Car", "--prompts", "boxes").exit_code == 0
    (changed,) = [json.loads(body) for method, *_, body in server.seen if method == "PATCH"]
    assert changed == {"label_config": render_label_config(["Car"], Kinds(("boxes",)))}


def test_connect_gives_a_project_instructions_that_has_none(m2n2, server):
    server.answer("/api/ml?project=3", b"[]")
    server.answer("/api/ml", b"{}", 201)
    server.answer("/api/projects/3/", b"{}")
    result = m2n2("connect", "--project", "3", "--url", server.url, "--token", "x", "--backend", "http://m2n2:9090")
    assert "the project had no instructions" in result.stdout
    (changed,) = [json.loads(body) for method, *_, body in server.seen if method == "PATCH"]
    assert changed["show_instruction"]
    assert "http://m2n2:9090/guide" in changed["expert_instruction"]
