"""A project is set up as Label Studio's API wants it, and refusals say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydantic import SecretStr

from backend.label_studio.client import LabelStudioClient, LabelStudioError
from backend.label_studio.configuration.problems import find_lost_tools, find_problems
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.project_setup import (
    ANSWERS,
    HINTS,
    PROMPTS,
    Attachment,
    add_instructions,
    attach_backend,
    create_project,
    parse_kinds,
    parse_labels,
    render_label_config,
    set_labels,
)
from m2n2_engine.errors import InvalidInput

BACKEND = Attachment("http://backend.example.com:9090")
BLOCKED = {"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}


@pytest.fixture
def client(server):
    return LabelStudioClient(server.url, SecretStr("0123abcd"))


def say(server, path, body, status=200):
    server.answer(path, json.dumps(body).encode(), status)


def sent(server, method):
    """Path and body of every request with that method."""
    return [(path, json.loads(body)) for verb, path, _, body in server.seen if verb == method]


def model(**fields):
    return {"id": 5, "url": BACKEND.url, "title": "M2N2", "is_interactive": True, **fields}


def test_the_configuration_has_one_smart_tool_and_every_label_twice():
    labels = ["Car", 'a "b" <c> & d', "Straße"]
    xml = render_label_config(labels)
    assert find_problems(xml) == []
    controls = {control.tag: control for control in parse_label_config(xml).controls}
    assert {tag: (list(control.labels), control.is_smart) for tag, control in controls.items()} == {
        "KeyPointLabels": (labels, True),
        "BrushLabels": (labels, False),
    }


@pytest.mark.parametrize("prompts", ["points", "boxes", "points,boxes", "boxes, points"])
@pytest.mark.parametrize("answers", ["brush", "bitmask", "polygon", "brush,polygon", "bitmask,polygon,brush"])
def test_every_kind_of_configuration_works(prompts, answers):
    kinds = parse_kinds(prompts, answers)
    xml = render_label_config(["Car", "Person"], kinds)
    config = parse_label_config(xml)
    assert find_problems(xml) == []
    assert find_lost_tools(config) == []
    smart = [control.tag for control in config.controls if control.is_smart]
    assert smart == [PROMPTS[kind.strip()][0] for kind in prompts.split(",")]
    rest = [control.tag for control in config.controls if not control.is_smart]
    assert rest == [ANSWERS[kind][0] for kind in answers.split(",")]


def test_the_page_has_one_row_of_labels_above_the_image():
    """All others are in a panel, which is closed at first."""
    view = ElementTree.fromstring(render_label_config(["Car"], parse_kinds("points", "brush,bitmask,polygon")))
    assert [tag.tag for tag in view] == ["KeyPointLabels", "Image", "Collapse"]
    assert [tag.tag for tag in view.find("Collapse/Panel") if tag.tag != "Header"] == [
        "BrushLabels",
        "BitmaskLabels",
        "PolygonLabels",
    ]
    assert view.find("Collapse").get("open") is None


@pytest.mark.parametrize(("prompts", "answers"), [("lasso", "brush"), ("points,", "brush"), ("points", "mask")])
def test_unknown_kinds_are_named(prompts, answers):
    with pytest.raises(InvalidInput, match=r"is no kind of .*: choose from (points, boxes|brush, bitmask, polygon)"):
        parse_kinds(prompts, answers)


@pytest.mark.parametrize("before", [{}, {"expert_instruction": None}, {"expert_instruction": " \n"}])
def test_a_project_without_instructions_gets_those_of_a_new_one(server, client, before):
    say(server, "/api/projects/3/", before)
    assert add_instructions(client, 3, BACKEND.url)
    ((path, body),) = sent(server, "PATCH")
    assert (path, body["show_instruction"]) == ("/api/projects/3/", True)
    assert f'href="{BACKEND.url}/guide"' in body["expert_instruction"]


def test_a_project_keeps_its_own_instructions(server, client):
    say(server, "/api/projects/3/", {"expert_instruction": "Label every cat."})
    assert not add_instructions(client, 3, BACKEND.url)
    assert sent(server, "PATCH") == []


def test_many_labels_have_a_colour_each_and_the_same_in_both_controls():
    labels = [f"label {number}" for number in range(25)]
    colours = [label.get("background") for label in ElementTree.fromstring(render_label_config(labels)).iter("Label")]
    assert colours[:25] == colours[25:]
    assert len(set(colours[:10])) == 10


def test_the_configuration_in_deploy_is_what_the_command_prints():
    deployed = (Path(__file__).parents[3] / "deploy" / "labeling_config.xml").read_text(encoding="utf-8")
    printed = render_label_config(["Object"])
    assert ElementTree.canonicalize(deployed, strip_text=True) == ElementTree.canonicalize(printed, strip_text=True)


@pytest.mark.parametrize(("text", "labels"), [("Car", ["Car"]), (" Car , Traffic light", ["Car", "Traffic light"])])
def test_labels_are_split_at_commas(text, labels):
    assert parse_labels(text) == labels


@pytest.mark.parametrize(("text", "message"), [("", "empty"), ("Car,,Dog", "empty"), ("Car,Car ", "twice")])
def test_labels_that_cannot_work_are_named(text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_labels(text)


def test_a_new_project_has_the_labels_and_tells_annotators_what_the_page_hides(server, client):
    say(server, "/api/projects/", {"id": 7}, 201)
    assert create_project(client, "Cats", ["Cat"], BACKEND.url) == 7
    ((_, body),) = sent(server, "POST")
    assert (body["title"], body["label_config"]) == ("Cats", render_label_config(["Cat"]))
    assert f'href="{BACKEND.url}/guide"' in body["expert_instruction"]
    assert body["expert_instruction"].count("<br>") == len(HINTS)


def test_labels_of_a_project_are_replaced(server, client):
    say(server, "/api/projects/3/", {"id": 3})
    set_labels(client, 3, ["Cat"])
    assert sent(server, "PATCH") == [("/api/projects/3/", {"label_config": render_label_config(["Cat"])})]


def test_the_backend_becomes_the_interactive_model(server, client):
    say(server, "/api/ml?project=3", [])
    say(server, "/api/ml", model(), 201)
    attach_backend(client, 3, Attachment(BACKEND.url, "annotator", SecretStr("pass")))
    ((path, body),) = sent(server, "POST")
    assert path == "/api/ml"
    assert (body["project"], body["url"], body["is_interactive"]) == (3, BACKEND.url, True)
    assert f"{BACKEND.url}/guide" in body["description"]
    assert (body["auth_method"], body["basic_auth_user"], body["basic_auth_pass"]) == (
        "BASIC_AUTH",
        "annotator",
        "pass",
    )


def test_a_model_that_is_there_is_brought_up_to_date(server, client):
    say(server, "/api/ml?project=3", [model(url=BACKEND.url + "/", is_interactive=False)])
    say(server, "/api/ml/5", model())
    attach_backend(client, 3, BACKEND)
    ((path, body),) = sent(server, "PATCH")
    assert (path, body["is_interactive"], "auth_method" in body) == ("/api/ml/5", True, False)
    assert sent(server, "POST") == []


def test_another_interactive_model_is_named_and_left_alone(server, client):
    say(server, "/api/ml?project=3", [model(url="http://other:9090", title="SAM")])
    with pytest.raises(InvalidInput, match="'SAM' at http://other:9090: remove it"):
        attach_backend(client, 3, BACKEND)
    assert sent(server, "POST") == []


def test_a_blocked_address_names_both_settings_of_label_studio(server, client):
    say(server, "/api/ml?project=3", [])
    say(server, "/api/ml", BLOCKED, 403)
    with pytest.raises(LabelStudioError, match="ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"):
        attach_backend(client, 3, BACKEND)


def test_a_refusal_that_attached_the_model_all_the_same_is_none(server):
    class Late(LabelStudioClient):
        """Lists the model once it was told of it."""

        def get(self, path, **params):
            return [model()] if sent(server, "POST") else []

    say(server, "/api/ml", BLOCKED, 403)
    attach_backend(Late(server.url, SecretStr("x")), 3, BACKEND)
    assert len(sent(server, "POST")) == 1


def test_a_server_that_is_not_reached_is_told_with_the_remedy(server, client):
    say(server, "/api/ml?project=3", [])
    reason = {"detail": "Validation error", "validation_errors": {"non_field_errors": ["Can't connect\nto ML backend"]}}
    say(server, "/api/ml", reason, 400)
    told = r"status 400: Can't connect to ML backend; .*--backend.*M2N2_HOST=0\.0\.0\.0"
    with pytest.raises(LabelStudioError, match=told):
        attach_backend(client, 3, BACKEND)


def test_a_title_that_label_studio_refuses_is_named_with_the_remedy(server, client):
    refusal = {"detail": "Validation error", "validation_errors": {"title": ["Ensure this field has at least 3"]}}
    say(server, "/api/projects/", refusal, 400)
    with pytest.raises(LabelStudioError) as caught:
        create_project(client, "P1", ["Car"], BACKEND.url)
    told = "title: Ensure this field has at least 3; the title is 'P1', so give another one (--project)"
    assert str(caught.value).endswith(told)
    say(server, "/api/projects/", {"detail": "x", "validation_errors": {"label_config": ["no tag"]}}, 400)
    with pytest.raises(LabelStudioError, match=r"label_config: no tag$"):
        create_project(client, "P1", ["Car"], BACKEND.url)
