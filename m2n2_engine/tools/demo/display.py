"""Whether a window can be opened here."""

from __future__ import annotations

import subprocess
import sys

from m2n2_engine.errors import ConfigurationError

_PROBE = "import cv2; cv2.namedWindow('m2n2')"
_PROBE_SECONDS = 60.0
_REMEDY = (
    "run the demo on a desktop or through `ssh -X`; "
    "`m2n2 segment IMAGE --point X,Y --output MASK --overlay PICTURE` needs no window"
)


def require_display() -> None:
    """Raise ConfigurationError where no window can be opened.

    Another process tries it, for Qt ends the process that finds no display.
    """
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"the display does not answer for {_PROBE_SECONDS:.0f} s: {_REMEDY}") from None
    if probe.returncode:
        reasons = [line for line in probe.stderr.splitlines() if line and not line.startswith((" ", "Traceback"))]
        reason = reasons[0].strip() if reasons else f"status {probe.returncode}"
        raise ConfigurationError(f"no window can be opened here ({reason}): {_REMEDY}")
