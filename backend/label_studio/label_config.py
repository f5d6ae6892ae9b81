"""Label Studio's labelling configuration: its images, the tools that ask, the tags that answers go to.

An answer needs three things to agree: a smart tool to ask with, an Image it belongs to, and a tag for the same image
with the same label to put the mask in. `find_problems` names everything that does not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import re
import threading
from collections.abc import Iterator
from xml.etree import ElementTree

from backend.errors import InvalidRequest

BRUSH = "BrushLabels"
POLYGON = "PolygonLabels"
ANSWER_TAGS = (BRUSH, POLYGON)
"""Tags that a mask can go to."""

PROMPT_TAGS = ("KeyPointLabels", "RectangleLabels")
"""Tags whose smart tools ask for a mask."""

_DECLARATION = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_REMEMBERED_CONFIGS = 1000

_LONGEST_CONFIG = 1024 * 1024
"""In characters. Here: a hundred times a configuration of 100 labels."""

_MOST_MARKS = 40_000
"""Of ``<``, two for most tags. Here: taxonomies of 10,000 choices are in use; these take 0.05 s."""

_MOST_DEPTH = 64
"""Tags inside each other. Here: an editor's view of more than a dozen is not seen."""

_MOST_TO_NAMES = 20
"""Images that one control belongs to."""

_MOST_PROBLEMS = 20
"""Told of one configuration; whoever corrects these is told the next."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageTag:
    """An Image tag. key: field of the task's data that holds its image, or its pages where ``is_list``."""

    name: str
    key: str
    is_list: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """A tag that makes regions. labels: as results name them, by alias where they have one; None: they come from the
    task's data, so that any label can be one. is_smart: whether its tool asks this server.
    is_smart_only: whether none of its tools draws by hand."""

    tag: str
    name: str
    to_names: tuple[str, ...]
    labels: tuple[str, ...] | None
    is_smart: bool
    is_smart_only: bool = False

    def takes(self, to_name: str, label: str) -> bool:
        """Whether a region of that image can have that label here."""
        return to_name in self.to_names and (self.labels is None or label in self.labels)

    def __str__(self) -> str:
        return f"{self.tag} {self.name!r}"


@dataclasses.dataclass(frozen=True, slots=True)
class LabelConfig:
    """What a configuration says of images and regions, in the order of its text."""

    images: tuple[ImageTag, ...]
    controls: tuple[Control, ...]

    def find_controls(self, tags: tuple[str, ...]) -> list[Control]:
        """The controls with one of these tags."""
        return [control for control in self.controls if control.tag in tags]

    def find_answer_control(self, tag: str, to_name: str, label: str) -> Control | None:
        """The first control with this tag that takes that label for that image; None where there is none."""
        return next((control for control in self.find_controls((tag,)) if control.takes(to_name, label)), None)

    def find_image(self, name: str) -> ImageTag:
        """The Image tag of that name. Raises InvalidRequest where there is none that shows a field of the task."""
        found = next((image for image in self.images if image.name == name), None)
        if found is None or not found.key:
            raise InvalidRequest(
                f"the configuration needs an Image named {name!r} with a value like '$image'"
                + ("" if found is None else ", but its value names no field of the task")
            )
        return found


class _FlatBuilder(ElementTree.TreeBuilder):
    """Builds no deep trees: whoever looks at all that is inside of each tag would look at the innermost too often."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str], /) -> ElementTree.Element:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError(f"its tags are more than {_MOST_DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag: str, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def parse_label_config(xml: str) -> LabelConfig:
    """Parse a labelling configuration. Raises InvalidRequest where it is no XML, too large, or declares entities."""
    if len(xml) > _LONGEST_CONFIG or xml.count("<") > _MOST_MARKS:
        raise InvalidRequest("the labelling configuration is too large: let its labels come from the task's data")
    if _DECLARATION.search(xml):
        raise InvalidRequest("the labelling configuration may not hold a DOCTYPE or entities: remove them")
    try:
        tags = list(ElementTree.fromstring(xml, ElementTree.XMLParser(target=_FlatBuilder())).iter())
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidRequest(f"the labelling configuration is no XML: {error}") from None
    return LabelConfig(
        images=tuple(_parse_image(tag) for tag in tags if tag.tag == "Image"),
        controls=tuple(_parse_control(tag) for tag in tags if tag.tag in PROMPT_TAGS + ANSWER_TAGS),
    )


def find_problems(xml: str) -> list[str]:
    """The reasons why this labelling configuration cannot work with this server, each with its remedy, the first
    twenty of them; empty where there is none."""
    try:
        config = parse_label_config(xml)
    except InvalidRequest as error:
        return [str(error)]
    problems = itertools.chain(
        _find_image_problems(config), _find_prompt_problems(config), _find_answer_problems(config)
    )
    return list(itertools.islice(problems, _MOST_PROBLEMS))


class ProblemLog:
    """Names the problems of each configuration in the log once; safe under threads."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def report(self, xml: str) -> None:
        """Log why this configuration cannot work, unless that was done already."""
        digest = hashlib.blake2b(xml.encode(errors="replace"), digest_size=16).digest()
        with self._lock:
            if digest in self._seen:
                return
            self._seen[digest] = None
            if len(self._seen) > _REMEMBERED_CONFIGS:
                del self._seen[next(iter(self._seen))]
        for problem in find_problems(xml):
            logger.warning("the labelling configuration cannot work: %s", problem)


def _parse_image(tag: ElementTree.Element) -> ImageTag:
    value, values = tag.get("value", ""), tag.get("valueList", "")
    shown = values or value
    return ImageTag(tag.get("name", ""), shown[1:] if shown.startswith("$") else "", is_list=bool(values))


def _parse_control(tag: ElementTree.Element) -> Control:
    names = (label.get("alias") or label.get("value") or "" for label in tag.iter("Label"))
    labels = tuple(name for name in dict.fromkeys(names) if name)
    to_names = tuple(dict.fromkeys(name.strip() for name in tag.get("toName", "").split(",") if name.strip()))
    if len(to_names) > _MOST_TO_NAMES:
        raise InvalidRequest(f"a {tag.tag} of the labelling configuration belongs to more than {_MOST_TO_NAMES} images")
    return Control(
        tag=tag.tag,
        name=tag.get("name", ""),
        to_names=to_names,
        labels=None if tag.get("value", "").startswith("$") else labels,
        # Label Studio gives every control tag a smart tool unless it is told not to.
        is_smart=_parse_flag(tag, "smartOnly", default=False) or _parse_flag(tag, "smart", default=True),
        is_smart_only=_parse_flag(tag, "smartOnly", default=False),
    )


def _parse_flag(tag: ElementTree.Element, name: str, *, default: bool) -> bool:
    return tag.get(name, str(default)).strip().lower() == "true"


def _find_image_problems(config: LabelConfig) -> Iterator[str]:
    if not config.images:
        yield 'it has no Image: add <Image name="image" value="$image"/>'
    for image in config.images:
        if not image.name:
            yield 'an Image has no name: give it one, name="image"'
        if not image.key:
            yield f"Image {image.name!r} shows no field of the task: give it a value like '$image'"


def _find_prompt_problems(config: LabelConfig) -> Iterator[str]:
    prompts = config.find_controls(PROMPT_TAGS)
    if not prompts:
        yield 'it has no tool to click with: add KeyPointLabels with smart="true" (or RectangleLabels, for boxes)'
    elif not any(prompt.is_smart for prompt in prompts):
        yield f'no tool is smart, so that clicks never get here: set smart="true" on {" or ".join(map(str, prompts))}'
    images = dict.fromkeys(image.name for image in config.images)
    for control in config.controls:
        if not control.name:
            yield f'a {control.tag} tag has no name: give it one, name="..."'
        if control.labels == ():
            yield f'{control} has no labels: put <Label value="..."/> into it'
        for name in control.to_names or ("",):
            if name not in images:
                yield f"{control} belongs to {name!r}, which is no Image here: set toName to one of {[*images]}"


def _find_answer_problems(config: LabelConfig) -> Iterator[str]:
    images = {image.name for image in config.images}
    taken = _find_taken_labels(config)
    for prompt in config.find_controls(PROMPT_TAGS):
        for to_name in prompt.to_names:
            answers = taken.get(to_name, set())
            if not prompt.is_smart or to_name not in images or answers is None:
                continue
            lost = [label for label in prompt.labels or () if label not in answers]
            if lost:
                labels = "".join(f'<Label value="{label}"/>' for label in lost)
                yield (
                    f"masks of {prompt} have no place to go: for toName={to_name!r} no BrushLabels (or PolygonLabels) "
                    f"has {', '.join(map(repr, lost))}; add {labels} to one"
                )


def _find_taken_labels(config: LabelConfig) -> dict[str, set[str] | None]:
    """Image -> the labels that masks of it can have; None: all."""
    taken: dict[str, set[str] | None] = {}
    for answer in config.find_controls(ANSWER_TAGS):
        for to_name in answer.to_names:
            labels = taken.setdefault(to_name, set())
            if answer.labels is None:
                taken[to_name] = None
            elif labels is not None:
                labels.update(answer.labels)
    return taken
