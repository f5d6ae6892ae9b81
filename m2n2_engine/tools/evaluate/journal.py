"""What was evaluated so far, so that an interrupted run goes on: a file of JSON lines, one a refinement."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.evaluate.refinement import Refinement


class Journal:
    """The refinements made with the same settings; those of others stay in the file and are not seen. Each is written
    as soon as it is made, in one piece; safe under threads."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """settings: everything that changes a figure, as values of JSON. Raises ConfigurationError where ``path``
        cannot be used."""
        self._path = path
        self._key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                # A process that was killed may have left a piece of a line, which the next one must not continue.
                if not (b"\n" + path.read_bytes()).endswith(b"\n"):
                    file.write(b"\n")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}; choose another --out") from None

    def read(self) -> list[Refinement]:
        """In the order they were made."""
        return [Refinement.from_json(line["refinement"]) for line in self._lines() if line["key"] == self._key]

    def forget(self) -> None:
        """Drop the refinements of these settings."""
        kept = [line for line in self._lines() if line["key"] != self._key]
        temporary = self._path.with_suffix(".part")
        temporary.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self._path)

    def append(self, refinement: Refinement) -> None:
        """Write one down."""
        line = json.dumps({"key": self._key, "refinement": refinement.to_json()})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _lines(self) -> Iterator[dict[str, Any]]:
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # a piece of a line
