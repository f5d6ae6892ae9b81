"""What a model may answer in place of a list."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass
class ModelResponse:
    """Predictions, one a task, and the version of the model where it tells one."""

    predictions: list[Any]
    model_version: str | None = None
