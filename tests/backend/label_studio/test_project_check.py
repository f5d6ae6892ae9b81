"""Each known reason for silence has its own finding, with a remedy, and nothing is changed in Label Studio."""

from __future__ import annotations

import json
import socket
from xml.etree import ElementTree

import numpy as np
import pytest
from pydantic import SecretStr

from backend.label_studio import brush_rle
from backend.label_studio.client import LabelStudioClient
from backend.label_studio.project_check import check_project
from backend.label_studio.project_setup import Attachment, render_label_config

CLICK = "/api/ml/5/interactive-annotating"
ALL = ["label studio", "token", "project", "labels", "model", "connection", "backend", "click"]


class World:
    """A Label Studio and a backend in which all is well, until something is said otherwise."""

    def __init__(self, label_studio, backend):
        self.label_studio = label_studio
        self.backend = backend
        mask = np.zeros((60, 80), np.bool_)
        mask[:30] = True
        region = {
            "type": "brushlabels",
            "original_width": 80,
            "original_height": 60,
            "value": {"rle": brush_rle.encode(mask)},
        }
        self.model = {
            "id": 5,
            "title": "M2N2",
            "url": backend.url,
            "is_interactive": True,
            "state": "CO",
            "error_message": None,
            "model_version": "m2n2-1",
        }
        self.project = {"title": "Cars", "task_number": 1, "expert_instruction": "Click."}
        self.say("/api/version/", {"release": "1.23.2"})
        self.say("/api/current-user/whoami", {"email": "a@example.com"})
        self.set_config(render_label_config(["Car", "Person"]))
        self.say_models(self.model)
        self.say("/api/tasks?project=3&page_size=1", {"tasks": [{"id": 11, "data": {"image": "/data/upload/1.png"}}]})
        self.say(CLICK, {"data": {"result": [region]}})
        self.tell("/ready", {"state": "ready"})
        self.tell("/health", {"status": "UP"})

    def say(self, path, body, status=200):
        """What Label Studio answers."""
        self.label_studio.answer(path, json.dumps(body).encode(), status)

    def tell(self, path, body, status=200):
        """What the backend answers."""
        self.backend.answer(path, json.dumps(body).encode(), status)

    def set_config(self, xml):
        self.say("/api/projects/3/", {**self.project, "label_config": xml})

    def say_models(self, *models):
        self.say("/api/ml?project=3", models)

    def check(self, login=None, key="0123abcd"):
        client = LabelStudioClient(self.label_studio.url, SecretStr(key))
        return list(check_project(client, 3, login or Attachment("http://unused")))

    def find_problem(self, **arguments):
        """Name and text of the one finding that is not ok."""
        (problem,) = [finding for finding in self.check(**arguments) if not finding.is_ok]
        return problem.name, problem.text


@pytest.fixture
def world(make_server):
    return World(make_server(), make_server())


def test_all_is_well(world):
    findings = world.check()
    assert [(finding.name, finding.is_ok) for finding in findings] == [(name, True) for name in ALL]
    texts = {finding.name: finding.text for finding in findings}
    assert texts["token"] == "legacy token of a@example.com"
    assert texts["labels"] == "KeyPointLabels 'kp': Car, Person"
    assert texts["click"].endswith("a mask of 50% of 80 x 60 pixels")
    click = next(json.loads(body) for _, path, _, body in world.label_studio.seen if path == CLICK)
    (region,) = click["context"]["result"]
    assert (click["task"], region["from_name"], region["to_name"], region["is_positive"]) == (11, "kp", "image", True)
    assert region["value"] == {"x": 50.0, "y": 50.0, "width": 0.25, "keypointlabels": ["Car"]}
    assert {method for method, path, *_ in world.label_studio.seen if path != CLICK} == {"GET"}


@pytest.mark.parametrize(
    ("flags", "is_advised"),
    [('smart="true"', True), ("", True), ('smartOnly="true"', False), ('smart="false"', False)],
)
def test_separate_tags_for_smart_and_plain_boxes_are_advised(world, flags, is_advised):
    boxes = f'<RectangleLabels name="box" toName="image" {flags}><Label value="Car"/></RectangleLabels></View>'
    world.set_config(render_label_config(["Car"]).replace("</View>", boxes))
    (labels,) = (finding for finding in world.check() if finding.name == "labels")
    assert labels.is_ok
    advice = "advice: RectangleLabels 'box' draws boxes by hand and smart ones, and a page sends both"
    assert (advice in labels.text) == is_advised


def test_what_is_no_label_studio_ends_it(world):
    world.say("/api/version/", {}, 404)
    assert [finding.name for finding in world.check()] == ["label studio"]
    assert "answers with status 404" in world.find_problem()[1]


@pytest.mark.parametrize(
    ("detail", "remedy"),
    [
        (
            "Authentication token no longer valid: legacy token authentication has been disabled for this organization",
            "legacy tokens are off in this organisation: make a personal access token",
        ),
        ("Invalid token.", "does not know this token: make a personal access token"),
    ],
)
def test_a_legacy_token_that_is_refused(world, detail, remedy):
    world.say("/api/current-user/whoami", {"detail": detail}, 401)
    name, text = world.find_problem()
    assert name == "token"
    assert remedy in text
    assert "0123abcd" not in text


def test_a_personal_token_that_is_refused(world):
    world.say("/api/token/refresh/", {"detail": "Token is invalid"}, 401)
    name, text = world.find_problem(key="a.b.c")
    assert name == "token"
    assert "make a new personal access token" in text


def test_a_project_that_is_not_there(world):
    world.say("/api/projects/3/", {"detail": "No Project matches the given query."}, 404)
    assert world.find_problem()[0] == "project"
    assert world.check()[-1].name == "project"


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ('smartOnly="true"', 'smart="false"', 'set smart="true"'),
        (
            ' smart="false"',
            "",
            "BrushLabels 'brush' has a smart tool of its own, which brings no mask: set smart=\"false\"",
        ),
        ('value="Person" background="#E6194B" /></BrushLabels>', 'value="Other"/></BrushLabels>', "'Person'"),
        ("<View>", "<View", "is no XML"),
    ],
)
def test_a_configuration_that_cannot_work(world, old, new, remedy):
    xml = render_label_config(["Car", "Person"])
    squeezed = "".join(line.strip() for line in xml.splitlines())
    assert old in squeezed
    world.set_config(squeezed.replace(old, new))
    problems = {finding.name: finding.text for finding in world.check() if not finding.is_ok}
    assert remedy in problems["labels"]
    assert "m2n2 label-studio config" in problems["labels"]


def find_text(world, name):
    """Of the finding of that name, which is ok."""
    (finding,) = [finding for finding in world.check() if finding.name == name]
    assert finding.is_ok
    return finding.text


def test_a_project_without_instructions_is_advised_to_have_some(world):
    assert find_text(world, "project") == "3, 'Cars', 1 tasks"
    world.project["expert_instruction"] = None
    world.set_config(render_label_config(["Car"]))
    assert "run `m2n2 label-studio connect`, which adds instructions" in find_text(world, "project")


def test_a_first_row_of_labels_that_paints_is_advised_against(world):
    view = ElementTree.fromstring(render_label_config(["Car"]))
    view.insert(0, view[-1])
    world.set_config(ElementTree.tostring(view, encoding="unicode"))
    assert find_text(world, "labels").endswith(
        "put KeyPointLabels 'kp' before BrushLabels 'brush', so that the first row of labels is that of the smart tool"
    )


def test_the_click_is_made_on_the_first_page_of_a_repeater(world):
    world.set_config(
        '<View><Repeater on="$pages"><Image name="i_{{idx}}" value="$pages[{{idx}}]"/>'
        '<KeyPointLabels name="k_{{idx}}" toName="i_{{idx}}"><Label value="Car"/></KeyPointLabels>'
        '<BrushLabels name="b_{{idx}}" toName="i_{{idx}}" smart="false"><Label value="Car"/></BrushLabels>'
        "</Repeater></View>"
    )
    world.say("/api/tasks?project=3&page_size=1", {"tasks": [{"id": 11, "data": {"pages": ["1.png", "2.png"]}}]})
    assert find_text(world, "labels") == "KeyPointLabels 'k_{{idx}}': Car"
    assert "answered in" in find_text(world, "click")
    click = next(json.loads(body) for _, path, _, body in world.label_studio.seen if path == CLICK)
    (region,) = click["context"]["result"]
    assert (region["from_name"], region["to_name"]) == ("k_0", "i_0")


def test_a_bitmask_is_an_answer(world):
    region = {"type": "bitmasklabels", "original_width": 80, "original_height": 60, "value": {}}
    world.say(CLICK, {"data": {"result": [region]}})
    assert find_text(world, "click").endswith(": bitmasklabels, 80 x 60")


def test_a_project_without_a_model(world):
    world.say_models()
    assert world.find_problem() == ("model", "no model is connected to the project: run `m2n2 label-studio connect`")


def test_a_model_that_is_not_interactive(world):
    world.say_models({**world.model, "is_interactive": False})
    name, text = world.find_problem()
    assert name == "model"
    assert "turn that on in Settings > Model" in text


def test_a_page_asks_the_first_of_several_models(world):
    world.say_models({**world.model, "is_interactive": False}, world.model, {**world.model, "id": 6})
    finding = next(finding for finding in world.check() if finding.name == "model")
    assert finding.text.endswith("of 2 interactive models a page asks this one")


def test_a_backend_that_label_studio_is_not_allowed_to_reach(world):
    world.say_models({**world.model, "state": "DI"})
    world.say("/api/ml/5", {"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}, 403)
    name, text = world.find_problem()
    assert name == "connection"
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in text


def test_a_backend_that_runs_but_not_for_label_studio(world):
    world.say_models({**world.model, "state": "DI"})
    world.say("/api/ml/5", {"validation_errors": ["Can't connect to ML backend"]}, 400)
    name, text = world.find_problem()
    assert name == "connection"
    assert "Can't connect to ML backend" in text
    assert "this machine does, so give connect an address (--backend)" in text
    assert "must be started with M2N2_HOST=0.0.0.0" in text
    patched = [json.loads(body) for method, _, _, body in world.label_studio.seen if method == "PATCH"]
    assert patched == [{"project": 3, "url": world.backend.url}]


def test_a_backend_that_is_down(world):
    world.say_models({**world.model, "state": "DI"})
    world.say("/api/ml/5", {"detail": "Can't connect"}, 400)
    world.backend.close()
    assert "nor does this machine: start the backend" in world.find_problem()[1]


@pytest.mark.parametrize("status", [200, 401])
def test_a_backend_that_listens_on_loopback_alone_is_told_from_one_that_is_down(world, status, monkeypatch):
    world.tell("/health", {}, status)
    port = world.backend.url.rpartition(":")[2]
    find_addresses = socket.getaddrinfo

    def find_no_container_s_host(host, *arguments, **options):
        if host == "host.docker.internal":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return find_addresses(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", find_no_container_s_host)
    world.say_models({**world.model, "url": f"http://host.docker.internal:{port}", "state": "DI"})
    world.say("/api/ml/5", {"detail": "Can't connect"}, 400)
    name, text = world.find_problem()
    assert name == "connection"
    assert f"a server answers at http://127.0.0.1:{port}, but not at that address" in text
    assert "M2N2_HOST=0.0.0.0" in text


def test_a_backend_that_asks_label_studio_for_a_password(world):
    world.say_models({**world.model, "state": "DI"})
    world.say("/api/ml/5", {"detail": "authentication parameters were not provided"}, 400)
    world.tell("/health", {}, 401)
    assert "set M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD" in world.find_problem()[1]


def test_the_reason_that_label_studio_kept_is_given(world):
    world.say_models({**world.model, "state": "ER", "error_message": "500 Server Error"})
    assert "(500 Server Error)" in world.find_problem()[1]


def test_a_backend_that_is_not_ready(world):
    world.tell("/ready", {"state": "failed", "reason": "dinov2-small is not at hand"}, 503)
    name, text = world.find_problem()
    assert name == "backend"
    assert "not ready (failed: dinov2-small is not at hand)" in text


def test_a_backend_that_only_label_studio_reaches_is_not_looked_at(world):
    world.say_models({**world.model, "url": "http://127.0.0.1:9"})
    finding = next(finding for finding in world.check() if finding.name == "backend")
    assert (finding.is_ok, finding.text) == (True, "Label Studio reaches it, this machine does not: not looked at")


def test_the_password_is_shown_to_the_backend(world):
    world.check(login=Attachment("http://unused", "annotator", SecretStr("pass")))
    assert world.backend.seen[0][2].startswith("Basic ")


def test_an_image_that_cannot_be_fetched_is_explained_by_the_backend(world):
    world.say(CLICK, {"errors": ["424 Client Error: FAILED DEPENDENCY"]})
    world.tell("/predict", {"error": {"message": "image /data/upload/1.png: set LABEL_STUDIO_API_KEY"}}, 424)
    assert world.find_problem() == ("click", "image /data/upload/1.png: set LABEL_STUDIO_API_KEY")
    asked = json.loads(world.backend.seen[-1][3])
    assert asked["tasks"][0]["id"] == 11
    assert asked["params"]["context"]["result"][0]["from_name"] == "kp"


def test_a_failure_that_the_backend_cannot_explain_comes_in_label_studio_s_words(world):
    world.say(CLICK, {"errors": ["Read timed out."]})
    assert world.find_problem() == ("click", "Read timed out.; the backend's log has the reason")


def test_an_answer_without_a_mask_points_to_the_log(world):
    world.say(CLICK, {"data": {"result": []}})
    assert "no mask: the backend's log" in world.find_problem()[1]


def test_without_a_task_no_click_is_tried(world):
    world.say("/api/tasks?project=3&page_size=1", {"tasks": []})
    assert world.check()[-1].text == "not tried: the project has no tasks yet"
