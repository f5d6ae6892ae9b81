"""How the command's process ends: with its own status, and with nothing left undone but the freeing of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PROGRAM = """
import atexit, sys, threading
from backend.cli.ending import ending_at_once

class Module:
    def __del__(self):
        print("freed")

kept = Module()
with ending_at_once():
    atexit.register(print, "registered")
    threading.Timer(0, print, ["thread"]).start()
    {ending}
"""


def run(ending: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(ending=ending)]
    environ = {**os.environ, "PYTHONUNBUFFERED": "", "PYTHONPATH": str(ROOT)}  # what is printed waits for the end
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=environ)


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('a sentence')", 1, "a sentence\n"),
        ("raise ValueError('unexpected')", 1, "ValueError: unexpected\n"),
    ],
)
def test_what_was_begun_is_done_and_the_status_is_that_of_the_command(ending: str, status: int, message: str) -> None:
    done = run(ending)
    assert (done.returncode, sorted(done.stdout.split())) == (status, ["registered", "thread"])
    assert done.stderr.endswith(message) if message else not done.stderr


def test_output_that_cannot_be_written_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("pass", full.fileno())
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
