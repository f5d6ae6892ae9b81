"""What a value of the labelling configuration, such as ``$image.url``, stands for in a task's data.

It is read as Label Studio's page (1.23.2) reads it, so that this server looks at the very picture that the annotator
sees: for clicks, for batches, for ``m2n2 warm`` and for ``m2n2 label-studio check``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element

from backend.errors import InvalidRequest

_VARIABLE = re.compile(r"\$[\w\[\].{}]+", re.ASCII)
"""A variable, as the page finds it: a blank, a hyphen or a letter beyond ASCII ends it."""

_STEP = re.compile(r"[^.\[\]]+")
"""One step of a path: ``pages``, ``0`` and ``url`` of ``pages[0].url``."""

_INDEX = re.compile(r"[0-9]{1,9}")

_EDGES = "".join(map(chr, range(0x21)))
_BREAKS = re.compile(r"[\t\r\n]")
"""Browsers drop control characters and blanks around an address, and these within it."""

_ADDRESS = re.compile(r"[/:]")

_LONGEST_TEXT = 1024 * 1024
"""Characters around the longest part of a value with several parts. Here: no address needs a hundredth of it, and a
part that stands in a value again and again would fill the memory."""

_LONGEST_SHOWN = 40
_KEYS_SHOWN = 8


@dataclasses.dataclass(frozen=True, slots=True)
class ImageTag:
    """An Image tag. value: what it shows, as the configuration says. is_list: it is a ``valueList``, whose pages the
    annotator turns."""

    name: str
    value: str
    is_list: bool

    @property
    def shows_task(self) -> bool:
        """Whether there is a field of the task, or an address, in its value."""
        return bool(_VARIABLE.search(self.value) or _ADDRESS.search(self.value))

    def find_reference(self, data: Mapping[str, object], page: int) -> str:
        """The reference of the image that it shows, of several that of a page (from 0). Raises InvalidRequest, which
        says what is there instead."""
        shown = resolve_value(self.value, data)
        # A page counts in a list alone: one image is on all pages.
        pages = shown[page : page + 1] if isinstance(shown, list) else [shown]
        reference = pages[0] if pages else None
        if isinstance(reference, str) and clean_reference(reference):
            return clean_reference(reference)
        place = f"the task's data has no image under {_shorten(self.value)}, the value of Image {_shorten(self.name)}"
        if isinstance(shown, list) and page >= len(shown):
            raise InvalidRequest(f"{place}: it has no list with a page {page} (counted from 0), only {len(shown)}")
        raise InvalidRequest(f"{place}: {_explain(self.value, data, reference)}")

    def list_references(self, data: Mapping[str, object]) -> list[str]:
        """The references of all its pages, in their order; what is none is left out."""
        try:
            shown = resolve_value(self.value, data)
        except InvalidRequest:
            return []
        pages = shown if isinstance(shown, list) else [shown]
        return [cleaned for page in pages if isinstance(page, str) and (cleaned := clean_reference(page))]


def read_attributes(tag: Element) -> dict[str, str]:
    """The attributes of a tag by their names in lower case, for the page takes them in any case."""
    return {name.lower(): value for name, value in tag.items()}


def resolve_value(value: str, data: Mapping[str, object]) -> object:
    """What a value stands for: a variable for what it names, of any type, and None where that is not there; other text
    for itself, with each variable in it replaced.

    Raises InvalidRequest where a variable within text names no text and no number, or the text gets too long.
    """
    if _VARIABLE.fullmatch(value):
        return find_field(value[1:], data)
    parts = [_render_part(part, data) for part in _split(value)]
    if sum(map(len, parts)) > _LONGEST_TEXT + max(map(len, parts), default=0):
        raise InvalidRequest(f"the value {_shorten(value)} gives more than {_LONGEST_TEXT} characters around its data")
    return "".join(parts)


def find_field(path: str, data: Mapping[str, object]) -> object:
    """What lies under a path like ``pages[0].url``; None where nothing does. A field that has the whole path as its
    name comes first."""
    if path in data:
        return data[path]
    found: object = data
    for step in _STEP.findall(path):
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, list) and _INDEX.fullmatch(step) and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def clean_reference(reference: str) -> str:
    """The address that a browser makes of it."""
    return _BREAKS.sub("", reference.strip(_EDGES))


def describe(found: object) -> str:
    """What a field of a task holds, in a few words and without its data."""
    if found is None:
        return "nothing"
    if isinstance(found, str):
        return f"the text {_shorten(found)}" if clean_reference(found) else "an empty text"
    if isinstance(found, Mapping):
        return f"an object with the keys {_name_keys(found)}"
    if isinstance(found, list):
        return f"a list of {len(found)}"
    return f"{found!r}, which is no text"


def _split(value: str) -> Iterable[str]:
    """The text of a value and its variables, in turn."""
    start = 0
    for variable in _VARIABLE.finditer(value):
        yield value[start : variable.start()]
        yield variable.group()
        start = variable.end()
    yield value[start:]


def _render_part(part: str, data: Mapping[str, object]) -> str:
    """A part of a value as text: what it names where it is a variable. Numbers are written as in a browser."""
    if not _VARIABLE.fullmatch(part):
        return part
    found = find_field(part[1:], data)
    if isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(int(found)) if isinstance(found, float) and found.is_integer() else str(found)
    name = part[:_LONGEST_SHOWN]
    raise InvalidRequest(f"{name} within a value of the configuration stands for {describe(found)}: text is needed")


def _explain(value: str, data: Mapping[str, object], found: object) -> str:
    if found is None:
        return f"the fields of the task are {_name_keys(data)}: the configuration and the data must agree"
    remedy = "the configuration and the data must agree"
    if isinstance(found, Mapping):
        inner = next((key for key, one in found.items() if isinstance(one, str) and _ADDRESS.search(one)), None)
        if inner is not None and _VARIABLE.fullmatch(value):
            remedy = f"name the one with the address, as in {value[:_LONGEST_SHOWN]}.{str(inner)[:_LONGEST_SHOWN]}"
    elif isinstance(found, list):
        remedy = "it needs the address of one image, or a list of them"
    return f"there is {describe(found)}; {remedy}"


def _name_keys(fields: Mapping[str, object]) -> str:
    shown = [_shorten(str(key)) for key in list(fields)[:_KEYS_SHOWN]]
    return (", ".join(shown) or "none") + (" and more" if len(fields) > len(shown) else "")


def _shorten(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")
