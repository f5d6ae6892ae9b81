"""The base class of a model."""

from __future__ import annotations

import collections
from typing import Any

from .response import ModelResponse

_stores: dict[str, dict[str, str]] = collections.defaultdict(dict)


class LabelStudioMLBase:
    """A model for one request of one project; what it is to know at the next request it keeps with `set`."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        self.setup()

    def setup(self) -> None:
        """For a subclass: what is to be done for every model that is made."""

    def set(self, key: str, value: str) -> None:
        """Keep a text for the project's next models. Raises TypeError for anything else."""
        if not isinstance(value, str):
            raise TypeError(f"{key} is kept as text, not as {type(value).__name__}")
        _stores[self.project_id][key] = value

    def get(self, key: str) -> str | None:
        """What was kept."""
        return _stores[self.project_id].get(key)

    @property
    def label_config(self) -> str | None:
        """The project's labelling configuration, XML."""
        return self.get("label_config")

    @property
    def model_version(self) -> str | None:
        """As the model told it."""
        return self.get("model_version")

    def predict(self, tasks: list[Any], context: Any = None, **kwargs: Any) -> list[Any] | ModelResponse:
        """For a subclass: a prediction a task. context: of an interactive request."""
        return ModelResponse(predictions=[])

    def fit(self, event: str, data: Any, **kwargs: Any) -> None:
        """For a subclass: learn from what happened in Label Studio."""
