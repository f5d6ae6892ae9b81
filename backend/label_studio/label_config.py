"""Label Studio's labelling configuration: its images, the tools that ask, the tags that answers go to.

An answer needs three things to agree: a smart tool to ask with, an Image it belongs to, and a tag for the same image
with the same label to put the mask in. `configuration.problems` names everything that does not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from xml.etree import ElementTree

from backend.errors import InvalidRequest
from backend.label_studio.configuration.repeater import REPEATER, expand_repeaters
from backend.label_studio.configuration.values import ImageTag, read_attributes

BRUSH = "BrushLabels"
BITMASK = "BitmaskLabels"
POLYGON = "PolygonLabels"
MASK_TAGS = (BRUSH, BITMASK)
"""Tags that take every pixel of a mask, the preferred one first."""

ANSWER_TAGS = (*MASK_TAGS, POLYGON)
"""Tags that a mask can go to."""

PROMPT_TAGS = ("KeyPointLabels", "RectangleLabels")
"""Tags whose smart tools ask for a mask."""

OTHER_TAGS = (
    *("EllipseLabels", "VectorLabels", "MagicWand", "Labels"),
    *("Brush", "Bitmask", "Polygon", "KeyPoint", "Rectangle", "Ellipse", "Vector"),
)
"""Tags that make regions of images, and that this server neither takes clicks of nor gives masks to."""

_SMART_TAGS = (*PROMPT_TAGS, *MASK_TAGS, "MagicWand", "Brush", "Bitmask", "KeyPoint", "Rectangle")
"""Tags that Label Studio has a smart tool for; others are never smart."""

_IMAGE, _LABEL = "image", "label"
_CONTROLS = {tag.lower(): tag for tag in (*PROMPT_TAGS, *ANSWER_TAGS, *OTHER_TAGS)}
"""Label Studio's page takes tags in any case; results have their type in lower case."""

_DECLARATION = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)

_LONGEST_CONFIG = 1024 * 1024
"""In characters. Here: a hundred times a configuration of 100 labels."""

_MOST_MARKS = 40_000
"""Of ``<``, two for most tags. Here: taxonomies of 10,000 choices are in use; these take 0.05 s."""

_MOST_DEPTH = 64
"""Tags inside each other. Here: an editor's view of more than a dozen is not seen."""

_MOST_TO_NAMES = 20
"""Images that one control belongs to."""

_NAMES_SHOWN = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """A tag that makes regions. tag: as it is written in Label Studio's documents. labels: as results name them, by
    alias where they have one; None: they come from the task's data, so that any label can be one. is_smart: whether its
    tool asks this server. is_smart_only: whether none of its tools draws by hand."""

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
    """What a configuration says of images and regions, in the order of its text. template: that text, where it has
    Repeaters, which stand in it once for each item of a list of the task; else None."""

    images: tuple[ImageTag, ...]
    controls: tuple[Control, ...]
    template: str | None = None

    def for_task(self, data: Mapping[str, object]) -> LabelConfig:
        """The configuration as it stands for a task with this data. Raises InvalidRequest where it gets too large."""
        return self if self.template is None else _parse(self.template, data)

    def find_controls(self, tags: tuple[str, ...]) -> list[Control]:
        """The controls with one of these tags."""
        return [control for control in self.controls if control.tag in tags]

    def find_answer_control(self, tag: str, to_name: str, label: str) -> Control | None:
        """The first control with this tag that takes that label for that image; None where there is none."""
        return next((control for control in self.find_controls((tag,)) if control.takes(to_name, label)), None)

    def find_image(self, name: str) -> ImageTag:
        """The Image tag of that name. Raises InvalidRequest where there is none that shows anything of the task."""
        found = next((image for image in self.images if image.name == name), None)
        if found is None or not found.shows_task:
            names = ", ".join(repr(image.name) for image in self.images[:_NAMES_SHOWN])
            raise InvalidRequest(
                f"the configuration needs an Image named {name!r} with a value like '$image'"
                + (f"; its images are {names or 'none'}" if found is None else ", but its value names no field of it")
            )
        return found

    def explain_no_answer(self, to_name: str, label: str) -> str:
        """What to add, where no tag takes masks of that label for that image."""
        others = [control for control in self.find_controls(OTHER_TAGS) if to_name in control.to_names]
        unable = f"; {' and '.join(map(str, others[:_NAMES_SHOWN]))} can hold none" if others else ""
        return (
            f"the labelling configuration has no BrushLabels, BitmaskLabels or PolygonLabels with toName={to_name!r} "
            f"and a Label {label!r}{unable}; add it"
        )


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
    """Parse a labelling configuration. What is in a Repeater is there once, the flag of its index in its names, until
    `LabelConfig.for_task` has it repeated.

    Raises InvalidRequest where it is no XML, too large, or declares entities.
    """
    if len(xml) > _LONGEST_CONFIG or xml.count("<") > _MOST_MARKS:
        raise InvalidRequest("the labelling configuration is too large: let its labels come from the task's data")
    if _DECLARATION.search(xml):
        raise InvalidRequest("the labelling configuration may not hold a DOCTYPE or entities: remove them")
    return _parse(xml, None)


def _parse(xml: str, data: Mapping[str, object] | None) -> LabelConfig:
    """The configuration for a task with this data, or for none."""
    try:
        root = ElementTree.fromstring(xml, ElementTree.XMLParser(target=_FlatBuilder()))
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidRequest(f"the labelling configuration is no XML: {error}") from None
    if data is not None:
        expand_repeaters(root, data)
    tags = list(root.iter())
    return LabelConfig(
        images=tuple(_parse_image(tag) for tag in tags if tag.tag.lower() == _IMAGE),
        controls=tuple(_parse_control(tag) for tag in tags if tag.tag.lower() in _CONTROLS),
        template=xml if data is None and any(tag.tag.lower() == REPEATER for tag in tags) else None,
    )


def _parse_image(tag: ElementTree.Element) -> ImageTag:
    attributes = read_attributes(tag)
    value, values = attributes.get("value", ""), attributes.get("valuelist", "")
    return ImageTag(attributes.get("name", ""), values or value, is_list=bool(values))


def _parse_control(tag: ElementTree.Element) -> Control:
    kind, attributes = _CONTROLS[tag.tag.lower()], read_attributes(tag)
    inner = (read_attributes(label) for label in tag.iter() if label.tag.lower() == _LABEL)
    names = (label.get("alias") or label.get("value") or "" for label in inner)
    labels = tuple(name for name in dict.fromkeys(names) if name)
    to_names = tuple(dict.fromkeys(name.strip() for name in attributes.get("toname", "").split(",") if name.strip()))
    if len(to_names) > _MOST_TO_NAMES:
        raise InvalidRequest(f"a {kind} of the labelling configuration belongs to more than {_MOST_TO_NAMES} images")
    is_smart_only = _parse_flag(attributes, "smartonly", default=False)
    return Control(
        tag=kind,
        name=attributes.get("name", ""),
        to_names=to_names,
        labels=None if attributes.get("value", "").startswith("$") else labels,
        # Label Studio gives these tags a smart tool unless it is told not to.
        is_smart=kind in _SMART_TAGS and (is_smart_only or _parse_flag(attributes, "smart", default=True)),
        is_smart_only=is_smart_only,
    )


def _parse_flag(attributes: Mapping[str, str], name: str, *, default: bool) -> bool:
    return attributes.get(name, str(default)).strip().lower() == "true"
