"""A machine without a display is told so, and what to do."""

from __future__ import annotations

import pytest

from m2n2_engine.errors import ConfigurationError
from m2n2_engine.tools.demo.display import PROBE_SECONDS, require_display


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
def test_the_reason_is_one_line(stderr: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as problem:
        require_display(f"import sys; sys.stderr.write({stderr!r}); sys.exit(3)")
    assert f"({reason}): run the demo" in str(problem.value)


def test_a_window_that_opens_is_enough() -> None:
    require_display("")


def test_a_display_that_does_not_answer() -> None:
    assert PROBE_SECONDS == 60
    with pytest.raises(ConfigurationError, match=r"the display does not answer for 0.2 s: run the demo on a desktop"):
        require_display("import signal; signal.pause()", timeout_seconds=0.2)
