"""What must stand in the environment of this process before torch or Ray is imported."""

from __future__ import annotations

import os


def calm_idle_threads() -> None:
    """Let idle threads of torch's OpenMP sleep instead of spin, unless the environment says otherwise.

    Each request thread brings a team of its own, so there are often more threads than processors; spinning ones then
    hold up those that work: a slow Markov chain was seen to take 15 to 20 times as long. To be called before torch is
    imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def keep_signal_handlers() -> None:
    """Let Ray leave SIGTERM to this process, unless the environment says otherwise: its own handler has the process
    aborted 3 s later, with the clicks under way. To be called before Ray is started."""
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
