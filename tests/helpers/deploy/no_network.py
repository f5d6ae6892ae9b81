"""A network of loopback alone, as a machine has that nothing is connected to. As root, on Linux."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def cut_off() -> Iterator[Sequence[str]]:
    """What a command begins with to run there, together with all others of the block."""
    keeper = subprocess.Popen(
        ["unshare", "--net", "--", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "up\n"
        yield ("nsenter", f"--net={Path('/proc') / str(keeper.pid) / 'ns' / 'net'}", "--")
    finally:
        keeper.kill()
        keeper.communicate()
