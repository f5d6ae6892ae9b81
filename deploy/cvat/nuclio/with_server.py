"""The function with the server beside it in the same container, for a nuclio that hands out the GPU.

SERVER_COMMAND: starts the server, in the folder SERVER_FOLDER. SERVER_URL: where it then listens. SERVER_LOCK: file
that tells the workers of a container that one of them runs it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import main

_LOCK = "/tmp/m2n2-server.lock"


def init_context(context: Any) -> None:
    """Called once by each of nuclio's workers; the first starts the server, which loads its model meanwhile."""
    main.init_context(context)
    _start_server(context)


def handler(context: Any, event: Any) -> Any:
    """The server's answer; one that has ended is started again, for the next click."""
    response = main.handler(context, event)
    if response.status_code == 502:
        _start_server(context)
    return response


def _start_server(context: Any) -> None:
    with Path(os.environ.get("SERVER_LOCK", _LOCK)).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another worker's server runs
        command = shlex.split(os.environ["SERVER_COMMAND"])
        # The server inherits the lock and holds it as long as it lives.
        context.user_data.server = subprocess.Popen(
            command, cwd=os.environ["SERVER_FOLDER"], pass_fds=[lock.fileno()], stdin=subprocess.DEVNULL
        )
        context.logger.info_with("the server is started", command=command)
