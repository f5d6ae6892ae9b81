"""How the command ``m2n2`` ends: at once, where all that has to be done is done."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Let the process end with the exit status that the block ends with, without taking its memory apart.

    The interpreter waits for threads and calls what was registered with ``atexit`` in the block, as always. By itself
    it would then free one by one the half a million objects that torch and numba are made of: 0.2 s of processor time,
    and 0.4 s more to look for cycles among them, for memory that the system takes back whole.
    """
    status = 1  # of an error that nobody expected; the interpreter has printed it by then

    def leave() -> None:
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except OSError:
            return  # a full disk: the interpreter ends in its own way, and says so
        os._exit(status)

    # What is registered first is called last.
    atexit.register(leave)
    try:
        yield
        status = 0
    except SystemExit as ended:
        status = _find_status(ended.code)
        raise


def _find_status(code: object) -> int:
    """The exit status of a ``SystemExit``, as the interpreter has it; it prints what is no number."""
    if code is None:
        return 0
    return code if isinstance(code, int) else 1
