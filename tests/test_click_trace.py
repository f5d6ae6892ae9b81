"""The way of a click through the code stays short enough to be read."""

from __future__ import annotations

from tests.helpers.click_trace import trace_clicks

MOST_FILES_NEW = 51
MOST_FILES_AGAIN = 38


def test_a_click_crosses_few_files() -> None:
    new, again = trace_clicks()
    # Both ends of the way, and a correction: so the whole of it was seen.
    for crossed in (new, again):
        assert {"backend/label_studio/routes.py", "m2n2_engine/session/session.py"} <= set(crossed)
    assert "refine_border" in again["m2n2_engine/method/colour_cut.py"]
    assert len(new) <= MOST_FILES_NEW
    assert len(again) <= MOST_FILES_AGAIN
