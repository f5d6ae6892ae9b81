"""Loads the model beside the server, so that health checks are answered from the first second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from m2n2_engine.errors import M2N2Error, NotReady
from m2n2_engine.types import Click, Image, Segmentation, Segmenter

# Label Studio gives a click up after 100 s; waiting longer would only hold a thread that others need.
_LONGEST_WAIT_SECONDS = 90.0

logger = logging.getLogger(__name__)


class BackgroundSegmenter:
    """A segmenter that is being loaded in a thread of its own.

    load: builds the segmenter and warms it up; called once.
    """

    def __init__(self, load: Callable[[], Segmenter], longest_wait_seconds: float = _LONGEST_WAIT_SECONDS) -> None:
        self._longest_wait_seconds = longest_wait_seconds
        self._loaded: Future[Segmenter] = Future()
        threading.Thread(target=self._run, args=(load,), name="load-model", daemon=True).start()

    @property
    def state(self) -> str:
        """``loading``, ``ready`` or ``failed``."""
        if not self._loaded.done():
            return "loading"
        return "failed" if self._loaded.exception() else "ready"

    @property
    def reason(self) -> str | None:
        """Why loading failed; None where it did not."""
        return str(self._loaded.exception()) if self.state == "failed" else None

    def segment(self, image: Image, clicks: Sequence[Click]) -> Segmentation:
        """The segmenter's answer, after waiting for it to be loaded.

        Raises what loading raised, as M2N2Error, and NotReady where loading takes longer than a client waits.
        """
        try:
            failure = self._loaded.exception(self._longest_wait_seconds)
        except TimeoutError:
            raise NotReady("the model is still loading: try again in a minute") from None
        if failure is not None:
            # A copy: the one kept would gather the traceback, and with it the image, of each request it is raised in.
            raise type(failure)(*failure.args)
        return self._loaded.result().segment(image, clicks)

    def describe(self) -> Mapping[str, str | int | float | bool | None]:
        """The segmenter's facts with ``state`` and ``reason``; only a stand-in version until it is ready."""
        state = self.state
        facts = self._loaded.result().describe() if state == "ready" else {"model_version": "m2n2"}
        return {**facts, "state": state, "reason": self.reason}

    def _run(self, load: Callable[[], Segmenter]) -> None:
        started = time.perf_counter()
        try:
            segmenter = load()
        except M2N2Error as error:
            logger.error("the model could not be loaded: %s", error)
            self._loaded.set_exception(error)
        except Exception:
            logger.exception("the model could not be loaded")
            self._loaded.set_exception(M2N2Error("the model could not be loaded: the server's log says why"))
        else:
            logger.info("model ready after %.1f s: %s", time.perf_counter() - started, dict(segmenter.describe()))
            self._loaded.set_result(segmenter)
