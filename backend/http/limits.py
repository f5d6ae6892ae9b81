"""What the server takes from its clients before any of it is worked on: how large, how many, how long."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Callable, Mapping

_OTHER_FILES = 128
"""Open files that are no clients: images under way, the disk cache, libraries. Two a thread come on top."""

_FEWEST_CONNECTIONS = 8


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
