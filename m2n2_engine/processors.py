"""The processors that this process may run on."""

from __future__ import annotations

import os


def count_processors() -> int:
    """How many they are: what a container or `taskset` leaves of the machine's, where the system can tell; at least 1.

    macOS and Windows cannot tell, and there it is all of them.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
