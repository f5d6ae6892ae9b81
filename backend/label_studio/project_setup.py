"""Sets a Label Studio project up: labelling configuration, this server as its model, instructions for annotators."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from pydantic import SecretStr

from backend.label_studio.client import LabelStudioClient, LabelStudioError
from m2n2_engine.errors import InvalidInput

BLOCKED_REMEDY = (
    "start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false in its environment, which it "
    "needs for every backend on localhost or in a private network, and run this again"
)

OPEN_REMEDY = (
    "a server that runs outside of Label Studio's container, or on another machine, must be started with "
    "M2N2_HOST=0.0.0.0: by default it listens on 127.0.0.1, for its own machine alone"
)
"""Where Label Studio, in a container or elsewhere, does not reach a server that its own machine does."""

_TITLE_WORDS = " title: "
_UNREACHED_WORDS = "connect to ML backend"
_MODEL_TITLE = "M2N2"
_BLOCKED_WORDS = "reserved network address"
# Hues far apart that show on photographs; taken again from the start where there are more labels.
_COLOURS = (
    "#00AA00",
    "#E6194B",
    "#4363D8",
    "#F58231",
    "#911EB4",
    "#42D4F4",
    "#F032E6",
    "#FFE119",
    "#9A6324",
    "#000075",
)

PROMPTS = {"points": ("KeyPointLabels", "kp"), "boxes": ("RectangleLabels", "box")}
"""What annotators can ask with -> the tag for it and its name."""

ANSWERS = {
    "brush": ("BrushLabels", "brush"),
    "bitmask": ("BitmaskLabels", "bitmask"),
    "polygon": ("PolygonLabels", "polygon"),
}
"""What masks can become -> the tag for it and its name."""

_PANEL_TITLE = "Labels for work by hand"

HINTS = (
    "Turn on Auto-Annotation at the bottom of the page and take the tool Auto-Detect (hot-key M).",
    "Keep Auto-Accept Suggestions off: with it on, every click starts a new object instead of refining this one.",
    "Select a label of the first row before each click, or turn on Keep label selected after creating a region.",
    "Nothing happens on a click? Auto-Annotation is off, another tool is in hand, or no label is selected.",
    "Click on the object; Alt+click on what is not part of it. Both look the same on the page.",
    "One click claims only a part of the image: click a large object several times.",
    "Accept the mask with the tick at the bottom of the page, then submit.",
)
"""What the page of Label Studio does not tell an annotator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """This server as Label Studio is to reach it. user, password: of its basic authentication, None without one."""

    url: str
    user: str | None = None
    password: SecretStr | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Kinds:
    """What a labelling configuration offers. prompts: of ``PROMPTS``, what annotators ask with. answers: of
    ``ANSWERS``, where masks go to. In the order in which they stand on the page."""

    prompts: tuple[str, ...] = ("points",)
    answers: tuple[str, ...] = ("brush",)


_POINTS_AND_BRUSH = Kinds()


def parse_labels(text: str) -> list[str]:
    """``Car,Person`` -> labels. Raises InvalidInput for an empty label or one named twice."""
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise InvalidInput(f"{text!r} has an empty label: write them as Car,Person")
    if len(set(labels)) < len(labels):
        raise InvalidInput(f"{text!r} names a label twice: name each once")
    return labels


def parse_kinds(prompts: str, answers: str) -> Kinds:
    """``points,boxes`` and ``brush,polygon`` -> kinds. Raises InvalidInput, which names those that there are."""
    return Kinds(_choose("prompt", prompts, PROMPTS), _choose("answer", answers, ANSWERS))


def render_label_config(labels: Sequence[str], kinds: Kinds = _POINTS_AND_BRUSH) -> str:
    """A labelling configuration that works, and whose page has one row of labels: that of the smart tool.

    Only what asks this server is smart, and it is nothing else, so that Auto-Detect is the one tool to click with. What
    masks go to needs the same labels. They are for work by hand, and lie below the image in a panel that is closed.
    """
    view = ElementTree.Element("View")
    for kind in kinds.prompts:
        if len(kinds.prompts) > 1:
            ElementTree.SubElement(view, "Header", value=kind.capitalize(), size="5")
        _add_control(view, PROMPTS[kind], labels, smartOnly="true")
    image = ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    if "bitmask" in kinds.answers:
        image.set("smoothing", "false")  # its pixels are to be seen
    collapse = ElementTree.SubElement(view, "Collapse", bordered="false")
    panel = ElementTree.SubElement(collapse, "Panel", value=_PANEL_TITLE)
    for kind in kinds.answers:
        if len(kinds.answers) > 1:
            ElementTree.SubElement(panel, "Header", value=kind.capitalize(), size="5")
        _add_control(panel, ANSWERS[kind], labels, smart="false")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _choose(name: str, text: str, known: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(kind.strip() for kind in text.split(",")))
    unknown = [kind for kind in chosen if kind not in known]
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is no kind of {name}: choose from {', '.join(known)}")
    return chosen


def _add_control(parent: ElementTree.Element, tag: tuple[str, str], labels: Sequence[str], **flags: str) -> None:
    control = ElementTree.SubElement(parent, tag[0], {"name": tag[1], "toName": "image", **flags})
    for index, label in enumerate(labels):
        ElementTree.SubElement(control, "Label", value=label, background=_COLOURS[index % len(_COLOURS)])


def create_project(
    client: LabelStudioClient,
    title: str,
    labels: Sequence[str],
    backend_url: str,
    kinds: Kinds = _POINTS_AND_BRUSH,
) -> int:
    """The id of a new project with these labels, and instructions that link to this server's guide.

    Raises LabelStudioError, which names the title where Label Studio refuses that.
    """
    fields = {"title": title, "label_config": render_label_config(labels, kinds)}
    try:
        return int(client.post("/api/projects/", fields | _render_instructions(backend_url))["id"])
    except LabelStudioError as error:
        if _TITLE_WORDS not in str(error):
            raise
        raise LabelStudioError(
            f"{error}; the title is {title!r}, so give another one (--project)", error.status
        ) from None


def set_labels(
    client: LabelStudioClient, project: int, labels: Sequence[str], kinds: Kinds = _POINTS_AND_BRUSH
) -> None:
    """Replace the project's labelling configuration. Label Studio refuses where annotations need the old one."""
    client.patch(f"/api/projects/{project}/", {"label_config": render_label_config(labels, kinds)})


def add_instructions(client: LabelStudioClient, project: int, backend_url: str) -> bool:
    """Give the project the instructions of a new one, if it has none. Returns whether it had none."""
    path = f"/api/projects/{project}/"
    is_missing = not (client.get(path).get("expert_instruction") or "").strip()
    if is_missing:
        client.patch(path, _render_instructions(backend_url))
    return is_missing


def attach_backend(client: LabelStudioClient, project: int, backend: Attachment) -> None:
    """Make this server the project's interactive model; one that is attached already is brought up to date.

    Raises LabelStudioError where Label Studio refuses its address or cannot reach it, InvalidInput where the project
    has another interactive model, which its page would go on asking.
    """
    attached = client.get("/api/ml", project=project)
    own = _find(attached, backend.url)
    other = next((model for model in attached if model["is_interactive"] and model is not own), None)
    if other is not None:
        raise InvalidInput(
            f"project {project} asks the model {other['title']!r} at {other['url']}: remove it in the project's "
            "Settings > Model, since a page asks only one"
        )
    fields = _render_model(project, backend)
    try:
        if own is None:
            client.post("/api/ml", fields)
        else:
            client.patch(f"/api/ml/{own['id']}", fields)
    except LabelStudioError as error:
        if _UNREACHED_WORDS in str(error):
            raise LabelStudioError(
                f"{error}; give an address (--backend) that works from where Label Studio runs: in a container, "
                f"localhost is the container itself, and {OPEN_REMEDY}",
                error.status,
            ) from None
        if not is_blocked(str(error)):
            raise
        # Where only webhooks are blocked, Label Studio refuses, but has attached the model all the same.
        if own is not None or _find(client.get("/api/ml", project=project), backend.url) is None:
            raise LabelStudioError(f"{error}; {BLOCKED_REMEDY}", error.status) from None


def _render_instructions(backend_url: str) -> dict[str, Any]:
    """The fields of a project that has its instructions opened before labelling. They are HTML; the page takes the
    bullets of lists and the targets of links away."""
    lines = [f"{number}. {html.escape(hint)}" for number, hint in enumerate(HINTS, 1)]
    link = f'<a href="{html.escape(backend_url)}/guide">Guide with pictures</a>'
    return {"expert_instruction": "<br>".join([*lines, link]), "show_instruction": True}


def is_blocked(reason: str) -> bool:
    """Whether that is how Label Studio refuses an address on localhost or in a private network."""
    return _BLOCKED_WORDS in reason


def _find(models: Sequence[dict[str, Any]], url: str) -> dict[str, Any] | None:
    return next((model for model in models if model["url"].rstrip("/") == url.rstrip("/")), None)


def render_address(project: int, backend: Attachment) -> dict[str, Any]:
    """Where and as whom Label Studio reaches a project's model, in the fields of its API."""
    fields: dict[str, Any] = {"project": project, "url": backend.url}
    if backend.password is not None:
        fields |= {
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": backend.user,
            "basic_auth_pass": backend.password.get_secret_value(),
        }
    return fields


def _render_model(project: int, backend: Attachment) -> dict[str, Any]:
    return {
        **render_address(project, backend),
        "title": _MODEL_TITLE,
        "description": f"Click on an object, Alt+click on what is not part of it. Guide: {backend.url}/guide",
        "is_interactive": True,
    }
