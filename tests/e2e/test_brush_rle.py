"""Our brush RLE against the SDK that the real Label Studio brings, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT


def test_the_rle_is_the_sdks_to_the_bit_and_at_least_ten_times_as_fast(request, capsys):
    python = request.config.getoption("label_studio").absolute() / "bin" / "python"
    done = subprocess.run(
        [python, Path(__file__).with_name("compare_rle.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with capsys.disabled():
        sys.stdout.write(f"\n{done.stdout}")
    seen = json.loads(done.stdout)
    assert seen["identical"] == seen["masks"] == 1000
    assert seen["ratio"] >= 10
