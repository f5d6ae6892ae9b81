"""Loads the model beside the server, so that health checks are answered from the first second.

A load that failed is begun again by the next request, at most once a minute: a hub that was down or a folder that was
not mounted yet needs nobody to restart the server, and one that stays away costs nothing. Settings that cannot work
stay failed: only a restart changes them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from m2n2_engine.errors import ConfigurationError, M2N2Error, NotReady
from m2n2_engine.types import Box, Click, Image, Level, Segmentation, Segmenter

# Label Studio gives a click up after 100 s; waiting longer would only hold a thread that others need.
_LONGEST_WAIT_SECONDS = 90.0
_RETRY_SECONDS = 60.0

logger = logging.getLogger(__name__)


class BackgroundSegmenter:
    """A segmenter that is being loaded in a thread of its own.

    load: builds the segmenter and warms it up; called again, ``retry_seconds`` after it raised at the earliest.
    """

    def __init__(
        self,
        load: Callable[[], Segmenter],
        longest_wait_seconds: float = _LONGEST_WAIT_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._longest_wait_seconds = longest_wait_seconds
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failure: M2N2Error | None = None
        self._failed_at = 0.0
        self._loaded = self._begin()

    def segment(self, image: Image, clicks: Sequence[Click], box: Box | None = None) -> Segmentation:
        """The segmenter's answer, after waiting for it to be loaded.

        Raises what loading raised, as M2N2Error, and NotReady where loading takes longer than a client waits.
        """
        return self._wait_for_segmenter().segment(image, clicks, box)

    def prepare(self, image: Image) -> Level:
        """The same for preparing an image."""
        return self._wait_for_segmenter().prepare(image)

    def find_level(self, image: Image) -> Level:
        """The segmenter's answer; nothing is kept anywhere until it is loaded."""
        segmenter = self._peek()
        return Level.NETWORK if segmenter is None else segmenter.find_level(image)

    def count_networks(self) -> int:
        """The segmenter's answer; one until it is loaded."""
        segmenter = self._peek()
        return 1 if segmenter is None else segmenter.count_networks()

    def describe(self) -> Mapping[str, str | int | float | bool | None]:
        """The segmenter's facts with ``state`` (``loading``, ``ready`` or ``failed``; its own, where it tells one) and
        ``reason``, why the last load failed; only a stand-in version until it is ready."""
        loaded = self._find_loaded()
        if not loaded.done():
            return {"model_version": "m2n2", "state": "loading", "reason": self._reason()}
        if loaded.exception() is not None:
            return {"model_version": "m2n2", "state": "failed", "reason": self._reason()}
        return {"state": "ready", "reason": None, **loaded.result().describe()}

    def _wait_for_segmenter(self) -> Segmenter:
        loaded = self._find_loaded()
        try:
            failure = loaded.exception(self._longest_wait_seconds)
        except TimeoutError:
            raise NotReady("the model is still loading: try again in a minute") from None
        if failure is not None:
            # A copy: the one kept would gather the traceback, and with it the image, of each request it is raised in.
            raise type(failure)(*failure.args)
        return loaded.result()

    def _peek(self) -> Segmenter | None:
        """The segmenter where it is loaded."""
        loaded = self._find_loaded()
        return loaded.result() if loaded.done() and loaded.exception() is None else None

    def _reason(self) -> str | None:
        return None if self._failure is None else str(self._failure)

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
            segmenter = self._load()
        except M2N2Error as error:
            logger.error("the model could not be loaded: %s", error)
            self._fail(loaded, error)
        except Exception:
            logger.exception("the model could not be loaded")
            self._fail(loaded, M2N2Error("the model could not be loaded: the server's log says why"))
        else:
            logger.info("model ready after %.1f s: %s", time.perf_counter() - started, dict(segmenter.describe()))
            loaded.set_result(segmenter)

    def _fail(self, loaded: Future[Segmenter], error: M2N2Error) -> None:
        self._failed_at = self._clock()
        self._failure = error
        loaded.set_exception(error)
