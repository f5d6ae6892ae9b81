"""A machine without a display is told so, and what to do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.demo import display
from m2n2_engine.tools.demo.display import require_display


@pytest.mark.parametrize("name", ["", ":9876"])
def test_no_display(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigurationError) as problem:
        require_display()
    message = str(problem.value)
    assert message.startswith("no window can be opened here (qt.qpa.xcb: could not connect to display")
    assert message.endswith("`m2n2 segment IMAGE --point X,Y --output MASK --overlay PICTURE` needs no window")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("Traceback (most recent call last):\n  File x\ncv2.error: not implemented\n", "cv2.error: not implemented"),
        ("", "status 3"),
    ],
)
def test_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch, stderr: str, reason: str) -> None:
    code = f"import sys; sys.stderr.write({stderr!r}); sys.exit(3)"
    monkeypatch.setattr(display, "_PROBE", code)
    with pytest.raises(ConfigurationError) as problem:
        require_display()
    assert f"({reason}): run the demo" in str(problem.value)


def test_a_window_that_opens_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_PROBE", "")
    require_display()


def test_a_display_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: Any, **options: Any) -> None:
        assert command[0] == sys.executable
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ConfigurationError, match="the display does not answer for 60 s: run the demo on a desktop"):
        require_display()
