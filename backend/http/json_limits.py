"""How deep and how large a JSON body may be, counted on its bytes before anything is built of it."""

from __future__ import annotations

import re

from backend.errors import InvalidRequest

MOST_DEPTH = 64
"""Objects and lists inside each other. Here: Label Studio's and CVAT's go to 12."""

MOST_COMMAS = 2_000_000
"""Here: ten drafts of masks of 200,000 run lengths each; they take 0.1 s to parse, while nothing else is worked on."""

MOST_QUOTES = 1_000_000
"""Here: ten keys and strings in each of 50,000 objects; they take 0.1 s to look through."""

_STRING = re.compile(rb'"[^"]*"')
_BUT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check_json(body: bytes, most_containers: int) -> None:
    """Refuse what would hold up everybody else while it is parsed.

    Args:
        body: Whether it is JSON is not looked at.
        most_containers: Objects and lists in it.

    Raises:
        InvalidRequest: There are more of them, more values or more depth than allowed.
    """
    if body.count(b",") > MOST_COMMAS or body.count(b'"') > MOST_QUOTES:
        raise InvalidRequest("it has too many values: send fewer tasks or regions at once")
    # An escaped quote ends no string.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    brackets = _STRING.sub(b"", plain.translate(None, _BUT_MARKS))
    if len(brackets) > 2 * most_containers:
        raise InvalidRequest(
            f"it has more than {most_containers} objects and lists: send fewer tasks or regions at once, or raise "
            "M2N2_MAX_JSON_OBJECTS"
        )
    depth = deepest = 0
    for bracket in brackets:
        depth += _STEPS.get(bracket, 0)
        deepest = max(deepest, depth)
    if deepest > MOST_DEPTH:
        raise InvalidRequest(f"its objects and lists are more than {MOST_DEPTH} deep")
