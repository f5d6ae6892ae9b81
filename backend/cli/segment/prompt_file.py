"""Prompts from a file: COCO's annotations, a table (CSV), or JSON of our own."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m2n2_engine.errors import ConfigurationError, InvalidClicks
from m2n2_engine.types import Box, Click

OBJECT = "object"
"""Label of objects that have none of their own."""

_NAME = re.compile(r"\w[\w.-]*")
_BOX_COLUMNS = ("left", "top", "right", "bottom")
_COLUMNS = ("image", "object", "label", "x", "y", "positive", *_BOX_COLUMNS)
_SIGNS = {"1": True, "true": True, "0": False, "false": False, "": True}


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """What says which object of an image is meant.

    image: name of its file, or its path below a folder. name: of the object, part of a file's name; None where it is
    the image's only one. label: what kind of object it is.
    """

    image: str
    name: str | None
    clicks: tuple[Click, ...]
    box: Box | None
    label: str = OBJECT


def read_prompts(path: Path) -> list[ObjectPrompt]:
    """The prompts of a file, in its order.

    ``.csv``: a row is a point (``image,object,x,y,positive``) or a box (``image,object,left,top,right,bottom``). Rows
    of the same image and object belong together. ``.json``: COCO, whose boxes (``bbox``) are the prompts, or a list of
    ``{"image", "object", "label", "points": [[x, y, 1 or 0]], "box": [left, top, right, bottom]}``.

    Raises ConfigurationError, naming the place in the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None
    found = _parse_table(path, text) if path.suffix.lower() == ".csv" else _parse_json(path, text)
    if not found:
        raise ConfigurationError(f"{path} holds no prompts: add a point or a box")
    return found


def _parse_table(path: Path, text: str) -> list[ObjectPrompt]:
    rows = csv.DictReader(text.splitlines())
    columns = rows.fieldnames or []
    strange = [column for column in columns if column not in _COLUMNS]
    if strange or "image" not in columns:
        problem = f"has a column {strange[0]!r}" if strange else "has no column 'image'"
        raise ConfigurationError(f"{path} {problem}: its first line names some of {', '.join(_COLUMNS)}")
    objects: dict[tuple[str, str], _Parts] = {}
    for row in rows:
        place = f"{path}, line {rows.line_num}"
        cells = {column: (row.get(column) or "").strip() for column in _COLUMNS}
        if not any(cells.values()):
            continue
        if not cells["image"]:
            raise ConfigurationError(f"{place} names no image")
        objects.setdefault((cells["image"], cells["object"]), _Parts()).add_row(place, cells)
    return [
        _make_prompt(str(path), image, name or None, parts.clicks, parts.box, parts.label)
        for (image, name), parts in objects.items()
    ]


@dataclasses.dataclass(slots=True)
class _Parts:
    """Of one object, collected row by row."""

    clicks: list[Click] = dataclasses.field(default_factory=list)
    box: Box | None = None
    label: str = OBJECT

    def add_row(self, place: str, cells: Mapping[str, str]) -> None:
        """Raises ConfigurationError where the row is no point and no box."""
        sides = [cells[column] for column in _BOX_COLUMNS]
        is_point = bool(cells["x"] or cells["y"])
        if not is_point and not any(sides):
            raise ConfigurationError(f"{place} has no point and no box: fill x and y, or {', '.join(_BOX_COLUMNS)}")
        if is_point:
            sign = cells["positive"].lower()
            if sign not in _SIGNS:
                raise ConfigurationError(
                    f"{place}: positive is {cells['positive']!r}: write 1 on the object, 0 outside"
                )
            x, y = _parse_numbers(place, [cells["x"], cells["y"]])
            self.clicks.append(Click(x, y, _SIGNS[sign]))
        if any(sides):
            if self.box is not None:
                raise ConfigurationError(f"{place} is a second box of the same object: give it a name of its own")
            self.box = Box(*_parse_numbers(place, sides))
        self.label = cells["label"] or self.label


def _parse_numbers(place: str, cells: list[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        raise ConfigurationError(f"{place}: {','.join(cells)!r} are no numbers of pixels") from None


def _parse_json(path: Path, text: str) -> list[ObjectPrompt]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON: {error}") from None
    if isinstance(content, dict) and "annotations" in content:
        return list(_parse_coco(path, content))
    entries = content.get("prompts") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ConfigurationError(f"{path} is neither COCO nor a list of prompts: docs/library.md has the form")
    return [_parse_entry(f"{path}, prompt {number}", entry) for number, entry in enumerate(entries, 1)]


def _parse_coco(path: Path, content: Mapping[str, Any]) -> Iterator[ObjectPrompt]:
    try:
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        labels = {category["id"]: str(category["name"]) for category in content.get("categories", ())}
        for annotation in content["annotations"]:
            place = f"{path}, annotation {annotation['id']}"
            if annotation["image_id"] not in files:
                raise ConfigurationError(f"{place} is of an image that the file does not list")
            left, top, width, height = annotation["bbox"]
            label = labels.get(annotation.get("category_id"), OBJECT)
            box = [left, top, left + width, top + height]
            yield _make_prompt(place, files[annotation["image_id"]], str(annotation["id"]), [], box, label)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ConfigurationError(f"{path} is no COCO with boxes: {reason}") from None


def _parse_entry(place: str, entry: Any) -> ObjectPrompt:
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise ConfigurationError(f"{place} names no image")
    strange = sorted(set(entry) - {"image", "object", "label", "points", "box"})
    if strange:
        raise ConfigurationError(f"{place} has a key {strange[0]!r}: use image, object, label, points and box")
    name = entry.get("object")
    return _make_prompt(
        place,
        entry["image"],
        None if name is None else str(name),
        entry.get("points") or [],
        entry.get("box"),
        str(entry.get("label") or OBJECT),
    )


def _make_prompt(place: str, image: str, name: str | None, points: Any, box: Any, label: str) -> ObjectPrompt:
    if name is not None and not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{place}: the object's name {name!r} is part of a file's name: use letters, digits, '-', '_' and '.'"
        )
    try:
        clicks = tuple(point if isinstance(point, Click) else Click(*point) for point in points)
        found = box if box is None or isinstance(box, Box) else Box(*box)
    except InvalidClicks as error:
        raise ConfigurationError(f"{place}: {error}") from None
    except TypeError:
        raise ConfigurationError(
            f"{place}: a point is [x, y] or [x, y, sign], and a box [left, top, right, bottom]"
        ) from None
    if not clicks and found is None:
        raise ConfigurationError(f"{place} has neither points nor a box")
    return ObjectPrompt(image, name, clicks, found, label)
