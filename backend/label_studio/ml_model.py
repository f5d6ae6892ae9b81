"""``M2N2Model``: the engine as a model of a label-studio-ml server, for teams that run one already.

    from backend.label_studio.ml_model import M2N2Model
    from label_studio_ml.api import init_app

    app = init_app(model_class=M2N2Model)

Both generations of that package are served: 1.0.9 of the registry, whose model lives as long as its server, and 2.0 of
its repository, which makes a new one for every request. So the engine belongs to the process and not to a model, and
is loaded by the first prediction, which Label Studio asks for when a task is opened. The package is imported when
``M2N2Model`` is first named, never before.

Such a server has no limit on bodies, no metrics and no health of ours, and sends tracebacks to its clients. That of
1.0.9 keeps one labelling configuration for all projects, the one it was told last. Take this product's own server where
you can.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from backend.engines.background import BackgroundEngine, EngineSource
from backend.engines.load import load_warm
from backend.errors import InvalidRequest
from backend.http.request import RequestRecord, render_problem
from backend.images.fetcher import create_picture_cache
from backend.label_studio.answer import answer_prompts, render_answer
from backend.label_studio.payload import PredictRequest
from backend.label_studio.pending.memory import PendingRegions
from backend.label_studio.prompt import note_answer, parse_prompts
from backend.process import calm_idle_threads
from backend.scheduling.clicks import ClickQueue, ClickService, Obsolete
from backend.settings import Settings, load_settings
from m2n2_engine import __version__
from m2n2_engine.errors import ConfigurationError, M2N2Error
from m2n2_engine.types import Deadline

_MODEL_NAME = "M2N2Model"
_UNLIMITED = sys.maxsize
"""Such a server limits its requests itself."""

logger = logging.getLogger(__name__)
_load_lock = threading.Lock()


class Predictor:
    """Tasks and a context -> predictions, as label-studio-ml wants them; safe under threads."""

    def __init__(self, settings: Settings, source: EngineSource) -> None:
        queue = ClickQueue(_UNLIMITED, settings.computing_clicks)
        self._settings = settings
        self._pending = PendingRegions()
        self._clicks = ClickService(source, create_picture_cache(settings), queue)

    def predict(self, tasks: list[Any], label_config: str | None, context: Any) -> list[Any]:
        """One prediction for an interactive request, one empty list a task for a batch. What goes wrong on purpose is
        named in the log and answered with an empty result, for those servers show their clients a traceback."""
        if not context:  # 2.0 hands over an empty one where a request has none
            return [[] for _ in tasks]
        record = RequestRecord(deadline=Deadline.after(self._settings.answer_timeout_seconds))
        try:
            prompts = parse_prompts(_parse_request(tasks, label_config, context), self._pending)
            answer = answer_prompts(prompts, self._clicks, record, self._settings)
            note_answer(prompts, answer["result"], self._pending)
            return [answer]
        except (M2N2Error, Obsolete) as error:
            logger.warning("empty result: %s: %s", type(error).__name__, error)
            return [render_answer([], 0.0, self._clicks.model_version)]


def __getattr__(name: str) -> Any:
    if name != _MODEL_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _model_class()


def create_model_class(load_predictor: Callable[[], Predictor]) -> type:
    """The model for the label-studio-ml that is installed.

    Args:
        load_predictor: Gives what answers, at the first prediction and at every later one.

    Raises:
        ConfigurationError: label-studio-ml cannot be imported.
    """
    try:
        from label_studio_ml.model import LabelStudioMLBase
    except ImportError as error:
        raise ConfigurationError(
            f"label-studio-ml cannot be imported ({error}): install it as docs/label-studio.md says"
        ) from None

    class M2N2Model(LabelStudioMLBase):  # type: ignore[misc]
        """Training-free interactive segmentation; its settings are this product's own, from the environment."""

        def setup(self) -> None:
            """Called by 2.0 for every model that it makes."""
            self.set("model_version", f"m2n2-{__version__}")

        def predict(self, tasks: list[Any], context: Any = None, **_: Any) -> list[Any]:
            """A prediction for each task; see `Predictor.predict`."""
            return load_predictor().predict(tasks, self.label_config, context)

    # 1.0.9 hands the class to a process of its own for every event, by this name.
    M2N2Model.__qualname__ = _MODEL_NAME
    return M2N2Model


@functools.cache
def _model_class() -> type:
    return create_model_class(_load_predictor)


def _load_predictor() -> Predictor:
    """The process's one predictor, its engine loading in the background."""
    with _load_lock:
        return _build_predictor()


@functools.cache
def _build_predictor() -> Predictor:
    calm_idle_threads()
    settings = load_settings()
    config = settings.engine_config()
    return Predictor(settings, BackgroundEngine(lambda: load_warm(config)))


def _parse_request(tasks: list[Any], label_config: str | None, context: Any) -> PredictRequest:
    body = {"tasks": tasks, "label_config": label_config or "", "params": {"context": context}}
    try:
        return PredictRequest.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(f"the request does not follow Label Studio's protocol: {render_problem(error)}") from None
