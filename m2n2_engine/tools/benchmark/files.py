"""What a run leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from m2n2_engine.errors import ConfigurationError


def write_text(path: Path, text: str) -> None:
    """Make the folder where it is missing; ConfigurationError where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """Raises ConfigurationError where the file cannot be written."""
    write_text(path, json.dumps(figures, indent=2) + "\n")
