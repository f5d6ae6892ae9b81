"""The real worker in a thread of the tests' own process, on loopback."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from backend.app import create_app
from backend.engines.background import EngineSource
from backend.http.worker import DrainingWorker
from backend.settings import load_settings

LONGEST_SECONDS = 60


class RunningWorker:
    """The worker's loop for an application with these settings. is_alive: False for one that was told to end before it
    began. listener: None for a new one."""

    def __init__(
        self,
        source: EngineSource,
        environ: Mapping[str, str],
        listener: socket.socket | None = None,
        is_alive: bool = True,
    ) -> None:
        settings = load_settings(environ)
        config = Config()
        config.set("threads", settings.server_threads)
        config.set("worker_connections", settings.max_connections)
        config.set("sendfile", False)
        listener = listener or socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.address = listener.getsockname()
        self._worker = worker = DrainingWorker(1, os.getppid(), [listener], None, 1, config, Logger(config))
        worker.wsgi = create_app(settings, source)
        worker.alive = is_alive
        worker.tpool = worker.get_thread_pool()
        worker.poller = selectors.DefaultSelector()
        worker.method_queue.init()
        self._thread = threading.Thread(target=worker.run)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """As SIGTERM does; waits until it has ended."""
        self._worker.handle_exit(None, None)
        self._thread.join(LONGEST_SECONDS)
        assert not self._thread.is_alive()
        self._worker.tmp.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=LONGEST_SECONDS)


@pytest.fixture
def start_worker(segmenter: EngineSource) -> Iterator[Callable[..., RunningWorker]]:
    """Starts workers of the disc, which end after the test."""
    with contextlib.ExitStack() as stack:

        def start(environ: Mapping[str, str] | None = None, **options: object) -> RunningWorker:
            worker = RunningWorker(segmenter, environ or {}, **options)
            worker.start()
            stack.callback(worker.end)
            return worker

        yield start


@pytest.fixture
def connect(start_worker: Callable[..., RunningWorker]) -> Iterator[Callable[..., socket.socket]]:
    """Connections to a worker with these settings, closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda environ=None: stack.enter_context(start_worker(environ).connect())
