"""Names of hosts -> addresses, in time.

The system's resolver takes as long as its name servers do and cannot be interrupted, so each question is asked in a
thread of its own, which is left behind when the time is over. There are only so many of them, however many questions
hang.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from typing import Any

Answer = list[tuple[Any, ...]]
"""What socket.getaddrinfo returns: family, kind, protocol, canonical name and address of each."""

_MOST_QUESTIONS = 16


class NameResolver:
    """Asks the system for addresses, a bounded number of questions at a time; safe under threads."""

    def __init__(self, most_questions: int = _MOST_QUESTIONS) -> None:
        self._free = threading.BoundedSemaphore(most_questions)

    def resolve(self, host: str, port: int, timeout_seconds: float) -> Answer:
        """The addresses of a host for TCP. Raises what socket.getaddrinfo does, and TimeoutError where the answer, or
        the turn to ask, does not come in time."""
        if not self._free.acquire(timeout=timeout_seconds):
            raise TimeoutError
        answer: Future[Answer] = Future()
        try:
            threading.Thread(target=self._ask, args=(answer, host, port), name="resolve-name", daemon=True).start()
        except BaseException:
            self._free.release()
            raise
        return answer.result(timeout_seconds)

    def _ask(self, answer: Future[Answer], host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result([*found])
        finally:
            self._free.release()
