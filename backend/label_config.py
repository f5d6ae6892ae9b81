"""Label Studio's labelling configuration: which image tag shows which field of a task, which brush has which labels."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from xml.etree import ElementTree

from m2n2_engine.errors import InvalidRequest

_DECLARATION = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class BrushControl:
    """A BrushLabels tag: its name, the image tags it paints on, its labels."""

    name: str
    to_names: frozenset[str]
    labels: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class LabelConfig:
    """What an answer needs of the configuration. image_values: name of an Image tag -> its value, ``$image``."""

    image_values: Mapping[str, str]
    brushes: tuple[BrushControl, ...]

    def find_brush(self, to_name: str, label: str) -> str | None:
        """Name of the first BrushLabels tag of that image that has the label; None where there is none."""
        fitting = (brush.name for brush in self.brushes if to_name in brush.to_names and label in brush.labels)
        return next(fitting, None)

    def find_data_key(self, to_name: str) -> str:
        """Key of the task's data under which that Image tag finds its image. Raises InvalidRequest."""
        value = self.image_values.get(to_name, "")
        if not value.startswith("$"):
            raise InvalidRequest(
                f"the configuration needs an Image named {to_name!r} with a value like '$image', but has {value!r}"
            )
        return value[1:]


def parse_label_config(xml: str) -> LabelConfig:
    """Parse a labelling configuration. Raises InvalidRequest where it is no XML, or declares entities."""
    if _DECLARATION.search(xml):
        raise InvalidRequest("the labelling configuration may not hold a DOCTYPE or entities: remove them")
    try:
        tags = list(ElementTree.fromstring(xml).iter())
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidRequest(f"the labelling configuration is no XML: {error}") from None
    return LabelConfig(
        image_values={tag.get("name", ""): tag.get("value", "") for tag in tags if tag.tag == "Image"},
        brushes=tuple(_parse_brush(tag) for tag in tags if tag.tag == "BrushLabels"),
    )


def _parse_brush(tag: ElementTree.Element) -> BrushControl:
    # A label with an alias goes by it in results.
    labels = (label.get("alias") or label.get("value") or "" for label in tag.iter("Label"))
    to_names = (name.strip() for name in tag.get("toName", "").split(","))
    return BrushControl(name=tag.get("name", ""), to_names=frozenset(to_names), labels=frozenset(labels))
