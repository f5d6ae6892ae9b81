"""Proposals that were made, until a task is opened or asked for."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from typing import Any

_KEPT_BYTES = 64 * 1024 * 1024
"""Of all answers as JSON. Here: thousands of smooth masks, sixty with ragged borders at 12 megapixels."""

_KEPT_TASKS = 10_000
"""Here: a task without proposals takes no bytes but its key."""

Prediction = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskKey:
    """What proposals are for. shown: the image's reference and the labelling configuration, hashed: where one of them
    changes, the proposals are none of this task any more."""

    project: int
    task_id: int
    shown: int


@dataclasses.dataclass(frozen=True, slots=True)
class Proposed:
    """What was found for a task. version: of examples and model. prediction: None where nothing was found."""

    version: str
    prediction: Prediction | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    version: str
    body: bytes


class ReadyProposals:
    """The newest ones, within their room; safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[TaskKey, _Kept] = OrderedDict()
        self._used_bytes = 0

    def put(self, key: TaskKey, proposed: Proposed) -> None:
        """Keep the proposals of a task in place of its older ones; the oldest of others go."""
        body = b"" if proposed.prediction is None else json.dumps(proposed.prediction).encode()
        with self._lock:
            self._drop(key)
            self._kept[key] = _Kept(proposed.version, body)
            self._used_bytes += len(body)
            while len(self._kept) > 1 and (self._used_bytes > _KEPT_BYTES or len(self._kept) > _KEPT_TASKS):
                self._drop(next(iter(self._kept)))

    def get(self, key: TaskKey) -> Proposed | None:
        """What was found for a task last; None where nothing is known of it."""
        with self._lock:
            kept = self._kept.get(key)
        return None if kept is None else Proposed(kept.version, json.loads(kept.body) if kept.body else None)

    def _drop(self, key: TaskKey) -> None:
        dropped = self._kept.pop(key, None)
        self._used_bytes -= 0 if dropped is None else len(dropped.body)
