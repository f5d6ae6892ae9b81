"""What the server takes from its clients before any of it is worked on: how large, how many, how long."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


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
    -> what stands before every path there. held_bytes: bodies that arrive or are worked on, and answers that clients
    have not taken. head_seconds: from the connection to the end of the request's head. body_seconds: for the whole
    body. send_seconds: for a client to take its answer.
    """

    bodies: Mapping[str, BodyLimit]
    prefixes: Mapping[int, str]
    json_objects: int
    held_bytes: int
    head_seconds: float
    body_seconds: float
    send_seconds: float

    def find(self, path: str, port: int = 0) -> BodyLimit | None:
        """The limit of a path at a port; None where no body is used. Port 0: one without a prefix."""
        return self.bodies.get(self.prefixes.get(port, "") + path)
