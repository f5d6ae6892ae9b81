"""The comparison of two checkouts, of this one with itself."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.helpers.paths import ROOT


def test_both_checkouts_are_timed_in_turn() -> None:
    options = ["--rounds=1", "--backbone=tiny", "--size=60x40", "--pictures=2"]
    command = [sys.executable, "-m", "tests.helpers.compare_speed", str(ROOT), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    row = re.compile(r"(\w+): other [\d.]+ ms, here [\d.]+ ms, ratio [\d.]+")
    assert [found[1] for found in row.finditer(done.stdout)] == ["prepare", "click", "restore"]
