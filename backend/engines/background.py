"""Loads the engine beside the server, so that health checks are answered from the first second.

A load that failed is begun again by the next request, at most once a minute: a hub that was down or a folder that was
not mounted yet needs nobody to restart the server, and one that stays away costs nothing. Settings that cannot work
stay failed: only a restart changes them.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from backend.errors import NotReady
from m2n2_engine.errors import ConfigurationError, M2N2Error
from m2n2_engine.types import Deadline, EngineStatus, Segmenter, State

_RETRY_SECONDS = 60.0
_NAMELESS = "m2n2"
"""Version of an engine that is not loaded yet."""

logger = logging.getLogger(__name__)


class EngineSource(Protocol):
    """Where the server has its engine from. Implementations are safe under threads."""

    @property
    def model_version(self) -> str:
        """What platforms keep with the masks; a stand-in until there is an engine. Waits for nothing."""

    def wait(self, deadline: Deadline) -> Segmenter:
        """The engine, which is the same ever after. Raises NotReady where it is not there in time, and as M2N2Error
        what kept it away."""

    def status(self) -> EngineStatus:
        """As ``Segmenter.status``; also while there is no engine."""


def log_ready(status: EngineStatus, seconds: float) -> None:
    """Tell the log that the model is loaded, and what never changes of it, in one line."""
    logger.info("model ready after %.1f s: %s", seconds, _describe(status))


class LoadedEngine:
    """An engine that is there already; implements ``EngineSource``."""

    def __init__(self, engine: Segmenter) -> None:
        self._engine = engine

    @property
    def model_version(self) -> str:
        """The engine's."""
        return self._engine.model_version

    def wait(self, deadline: Deadline) -> Segmenter:
        """The engine, at once."""
        return self._engine

    def status(self) -> EngineStatus:
        """The engine's."""
        return self._engine.status()


class BackgroundEngine:
    """An engine that is being loaded in a thread of its own; implements ``EngineSource``."""

    def __init__(
        self,
        load: Callable[[], Segmenter],
        retry_seconds: float = _RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[], object] = lambda: None,
        announce: Callable[[EngineStatus, float], None] = log_ready,
    ) -> None:
        """load: builds the engine and warms it up; called again, ``retry_seconds`` after it raised at the earliest.
        end: called where it raises ConfigurationError, which no retry can change. announce: told of the engine once it
        is loaded, and of the seconds that this took."""
        self._load = load
        self._end = end
        self._announce = announce
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failure: M2N2Error | None = None
        self._failed_at = 0.0
        self._loaded = self._begin()

    @property
    def model_version(self) -> str:
        """The engine's, or a stand-in."""
        engine = self._peek()
        return _NAMELESS if engine is None else engine.model_version

    def wait(self, deadline: Deadline) -> Segmenter:
        """See ``EngineSource.wait``."""
        loaded = self._find_loaded()
        try:
            failure = loaded.exception(min(deadline.remaining_seconds, threading.TIMEOUT_MAX))
        except TimeoutError:
            raise NotReady("the model is still loading: try again in a minute") from None
        if failure is not None:
            # A copy: the one kept would gather the traceback, and with it the image, of each request it is raised in.
            raise copy.copy(failure)
        return loaded.result()

    def status(self) -> EngineStatus:
        """The engine's, with why the last load failed; ``loading`` or ``failed`` until it is there."""
        loaded = self._find_loaded()
        reason = None if self._failure is None else str(self._failure)
        if not loaded.done():
            return EngineStatus(_NAMELESS, State.LOADING, reason)
        if loaded.exception() is not None:
            return EngineStatus(_NAMELESS, State.FAILED, reason)
        return loaded.result().status()

    def _peek(self) -> Segmenter | None:
        """The engine where it is loaded."""
        loaded = self._find_loaded()
        return loaded.result() if loaded.done() and loaded.exception() is None else None

    def _find_loaded(self) -> Future[Segmenter]:
        """The load that is done or under way; one that failed is begun again when it is time."""
        with self._lock:
            if self._is_retry_due():
                self._loaded = self._begin()
            return self._loaded

    def _is_retry_due(self) -> bool:
        if not self._loaded.done() or self._loaded.exception() is None:
            return False
        is_final = isinstance(self._failure, ConfigurationError)
        return not is_final and self._clock() - self._failed_at >= self._retry_seconds

    def _begin(self) -> Future[Segmenter]:
        loaded: Future[Segmenter] = Future()
        threading.Thread(target=self._run, args=(loaded,), name="load-model", daemon=True).start()
        return loaded

    def _run(self, loaded: Future[Segmenter]) -> None:
        started = time.perf_counter()
        try:
            engine = self._load()
        except M2N2Error as error:
            logger.error("the model could not be loaded: %s", error)
            self._fail(loaded, error)
            if isinstance(error, ConfigurationError):
                self._end()
        except Exception:
            logger.exception("the model could not be loaded")
            self._fail(loaded, M2N2Error("the model could not be loaded: the server's log says why"))
        else:
            loaded.set_result(engine)
            self._announce(engine.status(), time.perf_counter() - started)

    def _fail(self, loaded: Future[Segmenter], error: M2N2Error) -> None:
        self._failed_at = self._clock()
        self._failure = error
        loaded.set_exception(error)


def _describe(status: EngineStatus) -> str:
    """What never changes of it, in one line."""
    named = ("model_version", "backbone", "backbone_reason", "preset", "device", "grid", "threads", "replicas")
    fields = dataclasses.asdict(dataclasses.replace(status, tiers={}))
    return ", ".join(f"{name} {fields[name]}" for name in named if fields[name] is not None)
