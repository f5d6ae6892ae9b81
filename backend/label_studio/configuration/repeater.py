"""Label Studio's Repeater: a part of the configuration that stands there once for each item of a list of the task.

As on Label Studio's page (1.23.2), ``{{idx}}`` in the attributes of that part, or what ``indexFlag`` says, becomes the
number of the item, from 0: ``<Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>`` gives ``page_0``, ``page_1``...
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from backend.errors import InvalidRequest
from backend.label_studio.configuration.values import read_attributes, resolve_value

REPEATER = "repeater"
_INDEX_FLAG = "{{idx}}"

_LONGEST_REPEATED = 4 * 1024 * 1024
"""Characters of all copies together. Here: four times the largest configuration; 300 pages with 100 labels each are
3 million."""

_TAG_CHARACTERS = 60
"""What a tag counts beside its attributes. Here: the time to copy one is that of so many characters."""


def expand_repeaters(root: Element, data: Mapping[str, object]) -> None:
    """Put the copies of their content into all Repeater tags of a configuration, with the numbers of the items.

    Raises InvalidRequest where the copies would be too many.
    """
    _Expansion(data).expand(root)


class _Expansion:
    """The Repeaters of one configuration, one inside the other, and how much they may grow still."""

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = data
        self._left = _LONGEST_REPEATED

    def expand(self, tag: Element) -> None:
        if tag.tag.lower() == REPEATER:
            self._repeat(tag)
        else:
            for child in tag:
                self.expand(child)

    def _repeat(self, tag: Element) -> None:
        attributes = read_attributes(tag)
        items = resolve_value(attributes.get("on", ""), self._data)
        flag = attributes.get("indexflag") or _INDEX_FLAG
        template = list(tag)
        for child in template:
            tag.remove(child)
        for index in range(len(items) if isinstance(items, list) else 0):
            for child in template:
                copied = self._copy(child, flag, str(index))
                tag.append(copied)
                self.expand(copied)

    def _copy(self, tag: Element, flag: str, index: str) -> Element:
        copied = Element(tag.tag, {name: value.replace(flag, index) for name, value in tag.items()})
        self._left -= _TAG_CHARACTERS + sum(len(value) for _, value in copied.items())
        if self._left < 0:
            raise InvalidRequest(
                f"a Repeater of the labelling configuration gives more than {_LONGEST_REPEATED} characters for this "
                "task: use an Image with a valueList, whose pages need no copies"
            )
        copied.extend([self._copy(child, flag, index) for child in tag])
        return copied
