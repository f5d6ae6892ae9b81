from __future__ import annotations

import pytest

from backend.http.greeting import greet, render_greeting
from backend.settings import load_settings
from m2n2_engine.types import EngineStatus

STATUS = EngineStatus("m2n2-1", backbone="dinov2-small", device="cpu")
PASSWORD = {"M2N2_BASIC_AUTH_USER": "annotator", "M2N2_BASIC_AUTH_PASSWORD": "secret"}


def test_it_says_the_address_what_to_try_and_where_the_guide_is():
    address, advice, guide = (
        render_greeting(load_settings({"M2N2_PORT": "9191"}), True, STATUS, 17.4).strip().splitlines()
    )
    assert address == ("M2N2 is ready at http://127.0.0.1:9191 (dinov2-small on cpu, after 17 s; Ctrl+C stops it)")
    assert advice.startswith("Try next:  open http://127.0.0.1:9191 and click on a picture, or connect Label Studio: ")
    assert guide == "Guide:     http://127.0.0.1:9191/guide"


@pytest.mark.parametrize("has_page", [False, True])
def test_a_page_is_told_where_there_is_one(has_page):
    greeting = render_greeting(load_settings({"M2N2_HOST": "0.0.0.0", **PASSWORD}), has_page, STATUS, 1)
    assert ("click on a picture" in greeting) is has_page
    assert "ready at http://127.0.0.1:9090 " in greeting
    assert "secret" not in greeting


def test_it_goes_where_the_log_goes(capsys):
    greet(load_settings({}), True, EngineStatus("m2n2-1", replicas=2), 1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "(replicas on Ray, after 1 s; Ctrl+C stops it)" in printed.err


def test_a_gpu_that_is_not_used_is_told_before_anything_else_is_tried():
    slow = EngineStatus("m2n2-1", backbone="dinov2-small", device="cpu", device_warning="no driver of NVIDIA is loaded")
    lines = render_greeting(load_settings({}), True, slow, 1).strip().splitlines()
    assert lines[1] == "Slow:      no driver of NVIDIA is loaded"
    assert len(lines) == 4
