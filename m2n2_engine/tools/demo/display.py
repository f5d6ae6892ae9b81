"""Whether a window can be opened here."""

from __future__ import annotations

import subprocess
import sys

from m2n2_engine.errors import ConfigurationError

PROBE = "import cv2; cv2.namedWindow('m2n2')"
PROBE_SECONDS = 60.0
_REMEDY = (
    "run the demo on a desktop or through `ssh -X`; "
    "`m2n2 segment IMAGE --point X,Y --output MASK --overlay PICTURE` needs no window"
)


def require_display(probe: str = PROBE, timeout_seconds: float = PROBE_SECONDS) -> None:
    """Make sure that a window can be opened; another process tries it, for Qt ends one that finds no display.

    Args:
        probe: Python code that opens a window, and fails where it cannot.
        timeout_seconds: How long it may take.

    Raises:
        ConfigurationError: No window can be opened.
    """
    try:
        tried = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"the display does not answer for {timeout_seconds:g} s: {_REMEDY}") from None
    if tried.returncode:
        reasons = [line for line in tried.stderr.splitlines() if line and not line.startswith((" ", "Traceback"))]
        reason = reasons[0].strip() if reasons else f"status {tried.returncode}"
        raise ConfigurationError(f"no window can be opened here ({reason}): {_REMEDY}")
