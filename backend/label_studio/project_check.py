"""Looks for every known reason why clicks in a Label Studio project stay without an answer.

Label Studio's page shows none of them: a click that fails looks like one that found nothing.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from backend.http.ports import is_loopback
from backend.label_studio import brush_rle
from backend.label_studio.client import LabelStudioClient, LabelStudioError
from backend.label_studio.configuration.problems import find_lost_tools, find_problems
from backend.label_studio.label_config import ANSWER_TAGS, BRUSH, PROMPT_TAGS, Control, parse_label_config
from backend.label_studio.project_setup import BLOCKED_REMEDY, OPEN_REMEDY, Attachment, is_blocked, render_address
from backend.net.label_studio_auth import NoAuth
from m2n2_engine.errors import M2N2Error

_LEGACY_REFUSED = "legacy token authentication has been disabled"
_CONNECTED = "CO"
_PROBE_SECONDS = 5.0
_CLICK_SECONDS = 120.0
_CONNECT_REMEDY = "run `m2n2 label-studio connect`"
_BOX_TAG = "RectangleLabels"
_POINT = {"x": 50.0, "y": 50.0, "width": 0.25}
_BOX = {"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0, "rotation": 0}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check. text: what was found; where not ``is_ok``, what is wrong and what to do."""

    name: str
    text: str
    is_ok: bool


class _Problem(M2N2Error):
    """What is wrong and what to do."""


def check_project(client: LabelStudioClient, project: int, backend: Attachment) -> Iterator[Finding]:
    """Findings in the order in which a click depends on them, up to the first that all later ones depend on.

    backend: whose credentials are used to look at the model; its address is the one that the project has. Nothing is
    changed in Label Studio; the last finding is of a click in the middle of the project's first image.
    """
    inspection = _Inspection(client, project, backend)
    steps: list[tuple[str, Callable[[], str], bool]] = [
        ("label studio", inspection.check_label_studio, True),
        ("token", inspection.check_token, True),
        ("project", inspection.check_project, True),
        ("labels", inspection.check_labels, False),
        ("model", inspection.check_model, True),
        ("connection", inspection.check_connection, True),
        ("backend", inspection.check_backend, False),
        ("click", inspection.check_click, False),
    ]
    for name, check, is_needed in steps:
        try:
            finding = Finding(name, check(), is_ok=True)
        except M2N2Error as problem:
            finding = Finding(name, str(problem), is_ok=False)
        yield finding
        if is_needed and not finding.is_ok:
            return


class _Inspection:
    """One project on the way to its first click. Each check returns what it found or raises M2N2Error."""

    def __init__(self, client: LabelStudioClient, project: int, backend: Attachment) -> None:
        self._client = client
        self._id = project
        self._login = backend
        self._project: dict[str, Any] = {}
        self._model: dict[str, Any] = {}

    def check_label_studio(self) -> str:
        # Answered without a token, so that an address that is wrong is not taken for a token that is.
        return f"{self._client.url}, version {self._client.get_version()}"

    def check_token(self) -> str:
        try:
            user = self._client.get("/api/current-user/whoami")
        except LabelStudioError as error:
            if _LEGACY_REFUSED in str(error):
                raise _Problem(
                    "this is a legacy token, and legacy tokens are off in this organisation: make a personal access "
                    "token under Account & Settings, and give it to the backend as LABEL_STUDIO_API_KEY too"
                ) from None
            if error.status == 401:
                raise _Problem(
                    "Label Studio does not know this token: make a personal access token under Account & Settings"
                ) from None
            raise
        return f"{self._client.token_kind} of {user['email']}"

    def check_project(self) -> str:
        self._project = self._client.get(f"/api/projects/{self._id}/")
        said = f"{self._id}, {self._project['title']!r}, {self._project['task_number']} tasks"
        if (self._project.get("expert_instruction") or "").strip():
            return said
        return f"{said}; it tells annotators nothing of what the page hides: {_CONNECT_REMEDY}, which adds instructions"

    def check_labels(self) -> str:
        xml = self._project["label_config"]
        problems = find_problems(xml)
        if not problems:
            # Its tool would hide among the others and asks for nothing: clicks with it are lost.
            problems = [
                f'{control} has a smart tool of its own, which brings no mask: set smart="false"'
                for control in find_lost_tools(parse_label_config(xml))
            ]
        if problems:
            raise _Problem(f"{'; '.join(problems)}; `m2n2 label-studio config` prints a configuration that works")
        config = parse_label_config(xml)
        prompts = config.find_controls(PROMPT_TAGS)
        said = ", ".join(f"{prompt}: {', '.join(prompt.labels or ('labels of the task',))}" for prompt in prompts)
        first = config.find_controls((*PROMPT_TAGS, *ANSWER_TAGS))[0]
        advice = _advise(prompts)
        if first.tag in ANSWER_TAGS:
            # Whoever takes a label of that row paints, and sees no mask.
            advice = [
                f"put {prompts[0]} before {first}, so that the first row of labels is that of the smart tool",
                *advice,
            ]
        return "; ".join([said, *advice])

    def check_model(self) -> str:
        models = self._client.get("/api/ml", project=self._id)
        if not models:
            raise _Problem(f"no model is connected to the project: {_CONNECT_REMEDY}")
        interactive = [model for model in models if model["is_interactive"]]
        if not interactive:
            raise _Problem(
                f"{models[0]['title']!r} is connected, but not for interactive preannotations: turn that on in "
                f"Settings > Model, or {_CONNECT_REMEDY}"
            )
        self._model = interactive[0]
        others = f"; of {len(interactive)} interactive models a page asks this one" if len(interactive) > 1 else ""
        return f"{self._model['title']!r} at {self._model['url']}{others}"

    def check_connection(self) -> str:
        if self._model["state"] == _CONNECTED:
            return f"Label Studio reaches it, version {self._model['model_version']}"
        reason = self._model["error_message"] or self._ask_for_reason()
        if is_blocked(reason):
            raise _Problem(f"Label Studio refuses to talk to it ({reason}): {BLOCKED_REMEDY}")
        raise _Problem(f"Label Studio does not reach it ({reason}): {self._find_connection_remedy()}")

    def _ask_for_reason(self) -> str:
        """Why Label Studio does not reach the model; it keeps no reason, but gives one where the address is saved."""
        unchanged = render_address(self._id, dataclasses.replace(self._login, url=self._model["url"]))
        try:
            self._client.patch(f"/api/ml/{self._model['id']}", unchanged)
        except LabelStudioError as error:
            return str(error)
        return "just now it did: run this again"

    def _find_connection_remedy(self) -> str:
        try:
            status = self._probe("/health").status_code
        except requests.RequestException:
            return self._find_remedy_of_silence()
        if status == 401:
            return (
                "the backend asks for user and password: set M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD "
                f"here and {_CONNECT_REMEDY}"
            )
        return (
            "this machine does, so give connect an address (--backend) that works from where Label Studio runs; in a "
            f"container, localhost is the container itself, and {OPEN_REMEDY}"
        )

    def _find_remedy_of_silence(self) -> str:
        """What to do where this machine does not reach the model either, at the address that Label Studio has."""
        local = _find_local_address(self._model["url"])
        if local is not None and _listens(local):
            return f"a server answers at {local}, but not at that address: {OPEN_REMEDY}"
        return "nor does this machine: start the backend (`make run` or `m2n2 serve`), and check the address"

    def check_backend(self) -> str:
        try:
            response = self._probe("/ready")
            health = response.json()
        except requests.ConnectionError:
            return "Label Studio reaches it, this machine does not: not looked at"
        except requests.RequestException as error:
            raise _Problem(f"{self._model['url']}/ready gives no answer of ours ({type(error).__name__})") from None
        if response.status_code == 401:
            raise _Problem(
                "it asks for user and password: run this with M2N2_BASIC_AUTH_USER and M2N2_BASIC_AUTH_PASSWORD set"
            )
        if not response.ok:
            raise _Problem(
                f"not ready ({health.get('state')}: {health.get('reason') or 'the model is being loaded'}): wait a "
                "minute, then look at its log and run `m2n2 doctor`"
            )
        return "ready"

    def check_click(self) -> str:
        tasks = self._client.get("/api/tasks", project=self._id, page_size=1)["tasks"]
        if not tasks:
            return "not tried: the project has no tasks yet"
        control = self._find_prompt_control(tasks[0]["data"])
        context = _render_context(control)
        started = time.monotonic()
        answer = self._client.post(
            f"/api/ml/{self._model['id']}/interactive-annotating", {"task": tasks[0]["id"], "context": context}
        )
        seconds = time.monotonic() - started
        if answer.get("errors"):
            raise _Problem(self._explain_failure(tasks[0], context, str(answer["errors"][0])))
        regions = answer["data"]["result"]
        if not regions:
            raise _Problem("answered, but with no mask: the backend's log has a line that says why")
        return f"task {tasks[0]['id']} answered in {seconds:.1f} s: {_describe_region(regions[0])}"

    def _find_prompt_control(self, data: dict[str, Any]) -> Control:
        """The first tool to click with on a task of this data."""
        prompts = parse_label_config(self._project["label_config"]).for_task(data).find_controls(PROMPT_TAGS)
        fitting = next((prompt for prompt in prompts if prompt.is_smart and prompt.to_names and prompt.labels), None)
        if fitting is None:
            raise _Problem("not tried: the labelling configuration has no smart tool with labels of its own")
        return fitting

    def _explain_failure(self, task: dict[str, Any], context: dict[str, Any], said: str) -> str:
        """The backend's own words; Label Studio keeps only the status of a failed request."""
        body = {
            "tasks": [task],
            "label_config": self._project["label_config"],
            "params": {"context": context},
        }
        try:
            return str(self._probe("/predict", body).json()["error"]["message"])
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return f"{said}; the backend's log has the reason"

    def _probe(self, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """One request to the model from this machine."""
        password = self._login.password
        return requests.request(
            "GET" if body is None else "POST",
            f"{self._model['url'].rstrip('/')}{path}",
            json=body,
            auth=NoAuth() if password is None else HTTPBasicAuth(self._login.user or "", password.get_secret_value()),
            timeout=_PROBE_SECONDS if body is None else _CLICK_SECONDS,
        )


def _advise(prompts: Sequence[Control]) -> list[str]:
    """What would be better, though clicks work as it is."""
    return [
        f"advice: {prompt} draws boxes by hand and smart ones, and a page sends both; use two tags, "
        'smartOnly="true" for those that ask and smart="false" for the others'
        for prompt in prompts
        if prompt.tag == _BOX_TAG and prompt.is_smart and not prompt.is_smart_only
    ]


def _find_local_address(url: str) -> str | None:
    """Loopback's address with the port of a model's; None where that is of loopback itself."""
    parts = urlsplit(url)
    if parts.hostname is None or is_loopback(parts.hostname):
        return None
    return f"http://127.0.0.1:{parts.port or 80}"


def _listens(url: str) -> bool:
    """Whether a server of ours answers there; it is shown no password, for it may be another one."""
    try:
        return requests.get(f"{url}/health", auth=NoAuth(), timeout=_PROBE_SECONDS).status_code in (200, 401)
    except requests.RequestException:
        return False


def _render_context(control: Control) -> dict[str, Any]:
    """One prompt in the middle of the image, as Label Studio's page sends it; without an id, so that no page's clicks
    are taken for corrections of it."""
    kind = control.tag.lower()
    value = _POINT if kind == "keypointlabels" else _BOX
    labels = list(control.labels or ())[:1]
    region = {
        "type": kind,
        "from_name": control.name,
        "to_name": control.to_names[0],
        "image_rotation": 0,
        "value": {**value, kind: labels},
    }
    return {"result": [region | ({"is_positive": True} if kind == "keypointlabels" else {})]}


def _describe_region(region: dict[str, Any]) -> str:
    width, height = region["original_width"], region["original_height"]
    if region["type"] != BRUSH.lower():
        return f"{region['type']}, {width} x {height}"
    mask = brush_rle.decode(region["value"]["rle"], (height, width))
    return f"a mask of {mask.mean():.0%} of {width} x {height} pixels"
