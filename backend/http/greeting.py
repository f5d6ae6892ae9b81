"""What a person at a terminal reads once the server is ready: its address, what to try next, where the guide is."""

from __future__ import annotations

import sys

from backend.http.ports import render_url
from backend.settings import Settings
from m2n2_engine.types import EngineStatus


def greet(settings: Settings, has_page: bool, status: EngineStatus, seconds: float) -> None:
    """Write the greeting to standard error. has_page: at /. seconds: that the model took to load."""
    print(render_greeting(settings, has_page, status, seconds), file=sys.stderr, flush=True)  # noqa: T201 (no line of the log)


def render_greeting(settings: Settings, has_page: bool, status: EngineStatus, seconds: float) -> str:
    """Three lines, with an empty one before and after them; a fourth where a GPU of the machine is not used."""
    url = render_url(settings.host, settings.port)
    connect = "m2n2 label-studio connect --help"
    lines = [
        f"M2N2 is ready at {url} ({status.backbone or 'replicas'} on {status.device or 'Ray'}, after {seconds:.0f} s; "
        "Ctrl+C stops it)",
        f"Try next:  open {url} and click on a picture, or connect Label Studio: {connect}"
        if has_page
        else f"Try next:  connect Label Studio: {connect}",
        f"Guide:     {url}/guide",
    ]
    if status.device_warning is not None:
        lines.insert(1, f"Slow:      {status.device_warning}")
    return "\n".join(["", *lines, ""])
