"""What the server takes from its clients before any of it is worked on: how large, how many, how long, how deep."""

from __future__ import annotations

import dataclasses
import re
import resource
from collections.abc import Callable, Mapping

from backend.errors import InvalidRequest

_OTHER_FILES = 128
"""Open files that are no clients: images under way, the disk cache, libraries. Two a thread come on top."""

_FEWEST_CONNECTIONS = 8

MOST_DEPTH = 64
"""Objects and lists inside each other. Here: Label Studio's and CVAT's go to 12."""

MOST_COMMAS = 2_000_000
"""Here: ten drafts of masks of 200,000 run lengths each; they take 0.1 s to parse, while nothing else is worked on."""

MOST_QUOTES = 1_000_000
"""Here: ten keys and strings in each of 50,000 objects; they take 0.1 s to look through."""

_STRING = re.compile(rb'"[^"]*"')
_BUT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class BodyLimit:
    """Of the bodies of one path; the smaller one comes first. setting: where it is set, for whoever meets it."""

    most_bytes: int
    setting: str

    @property
    def refusal(self) -> str:
        """What is said of a larger body."""
        return f"the body is larger than this server takes: raise {self.setting}"


@dataclasses.dataclass(frozen=True, slots=True)
class HttpLimits:
    """Of one server.

    bodies: path -> limit of its bodies. A path that is not named uses no body, so none is read for it. prefixes: port
    -> what stands before every path there. json_objects: objects and lists in one body. held_bytes: bodies that arrive
    or are worked on, and answers that clients have not taken. head_seconds: from the connection to the end of the
    request's head. body_seconds: for the whole body. send_seconds: for a client to take its answer. admits: whether a
    client may send a body, by its Authorization header.
    """

    bodies: Mapping[str, BodyLimit]
    prefixes: Mapping[int, str]
    json_objects: int
    held_bytes: int
    head_seconds: float
    body_seconds: float
    send_seconds: float
    admits: Callable[[str | None], bool]

    def find(self, path: str, port: int = 0) -> BodyLimit | None:
        """The limit of a path at a port; None where no body is used. Port 0: one without a prefix."""
        return self.bodies.get(self.prefixes.get(port, "") + path)


def count_connections(wanted: int, threads: int) -> int:
    """How many clients may be connected: as many as wanted, or as the open files of this process allow."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(_FEWEST_CONNECTIONS, min(wanted, files - _OTHER_FILES - 2 * threads))


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
